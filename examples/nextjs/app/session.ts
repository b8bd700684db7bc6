import "server-only";

import { headers } from "next/headers";
import { cache } from "react";
import { AuthError, createAuthClient, type Session } from "@keywheel/client";

const AUTH = process.env.AUTH_URL ?? "http://localhost:3001";

/**
 * Who sent this request, asked of the auth service with the request's own session cookie, once for all components: `null` for nobody,
 * `undefined` if the service cannot say now.
 */
export const currentSession = cache(async (): Promise<Session | null | undefined> => {
  const given = await headers();
  // No other cookie of this origin is the auth service's business.
  const cookies = given.get("cookie")?.split(/;\s*/).filter((cookie) => /^[^=]*session_token=/.test(cookie));
  if (!cookies?.length) return null;
  // The visitor's address, as server.mjs has written it: the auth service's audit trail names it.
  const sent = { cookie: cookies.join("; "), "x-forwarded-for": given.get("x-forwarded-for") ?? "" };
  // A client for this request alone. It is asked for nothing but the session, so the cookie goes nowhere else.
  const auth = createAuthClient({ baseURL: AUTH, fetch: (url, init) => fetch(url, { ...init, headers: sent }) });
  try {
    const found = await auth.getSession({ disableRefresh: true });
    if (!found) return null;
    // What is handed to a page's components is written into its HTML, where the session's own token has no business.
    const { token: _, ...session } = found.session;
    return { ...found, session };
  } catch (error) {
    if (!(error instanceof AuthError)) throw error;
    console.error(`the session is not known: ${error.message}`);
    return undefined;
  }
});
