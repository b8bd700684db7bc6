import { createAuthClient } from "@keywheel/client";

export const API = process.env.NEXT_PUBLIC_API_URL ?? "http://localhost:8000";

/** The browser's client: one for the page. */
export const auth = createAuthClient({
  audience: "api",
  apiOrigins: [API],
  onSignedOut: () => location.assign("/sign-in"),
});
