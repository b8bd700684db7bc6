import "server-only";

import { headers } from "next/headers";
import { createAuthClient, type Session } from "@keywheel/client";

const AUTH = process.env.AUTH_URL ?? "http://localhost:3001";

/** Who sent this request, asked of the auth service with the request's own cookie. */
export async function currentSession(): Promise<Session | null> {
  const cookie = (await headers()).get("cookie");
  if (!cookie) return null;
  // A client for this request alone. It is asked for nothing but the session, so the cookie goes nowhere else.
  const auth = createAuthClient({ baseURL: AUTH, fetch: (url, init) => fetch(url, { ...init, headers: { cookie } }) });
  const found = await auth.getSession({ disableRefresh: true });
  if (!found) return null;
  // What is handed to a page's components is written into its HTML, where the session's own token has no business.
  const { token: _, ...session } = found.session;
  return { ...found, session };
}
