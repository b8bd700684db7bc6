/** As the server gives it; fields of one's own come with it. */
export interface User {
  id: string;
  email: string;
  name: string;
  emailVerified: boolean;
  /** ISO 8601, like every time here. */
  createdAt: string;
  updatedAt: string;
  image?: string | null;
  [field: string]: unknown;
}

export interface Session {
  session: { id: string; userId: string; expiresAt: string; createdAt: string; updatedAt: string; [field: string]: unknown };
  user: User;
}

export interface Credentials {
  email: string;
  password: string;
  /** `false`: the session ends with the browser. */
  rememberMe?: boolean;
}

export interface NewAccount extends Credentials {
  name: string;
  [field: string]: unknown;
}

/**
 * Why nobody is signed in any more: `sign-out` here, `other-tab` there, `no-session` if the auth service knows none (it ended, or there
 * never was one), `refused` if the backend refused a fresh token.
 */
export type SignedOutReason = "sign-out" | "other-tab" | "no-session" | "refused";

export interface AuthClientOptions {
  /** `https://auth.example.com`, or a path on the page's own origin. Without a path, `/api/auth` is added. Default: the page's own origin. */
  baseURL?: string;
  /** The audience of `authFetch` and `getToken` where they name none; without it, the server's default. */
  audience?: string;
  /**
   * The only origins that `authFetch` sends tokens to, such as `["http://localhost:8000"]`. Default: the page's own; on a server, that of
   * `baseURL`.
   */
  apiOrigins?: readonly string[];
  /** Instead of the global `fetch`. */
  fetch?: typeof fetch;
  /** Called once when the user is no longer signed in; the place to show the sign-in page. */
  onSignedOut?: (reason: SignedOutReason) => void;
}

export interface AuthFetchInit extends RequestInit {
  audience?: string;
}

export interface AuthClient {
  /** The new user's session, or `null` if the server opens none yet (the address must be confirmed first). */
  signUp(account: NewAccount): Promise<Session | null>;
  /** The session, or `null` if the server wants another step first. */
  signIn(credentials: Credentials): Promise<Session | null>;
  /** Ends the session here and in every tab. */
  signOut(): Promise<void>;
  /**
   * Who is signed in, asked of the server; `null` if nobody is. With `disableRefresh` the session is not prolonged: for a server that asks
   * on a browser's behalf, whose cookie it could not prolong with it.
   */
  getSession(options?: { disableRefresh?: boolean }): Promise<Session | null>;
  /** A token for this audience with time left on it. Kept in memory alone; asked for once, however many want it. */
  getToken(options?: { audience?: string }): Promise<string>;
  /**
   * `fetch` with `Authorization: Bearer`. After a 401 it tries once more with a fresh token, unless the body was a stream, which
   * cannot be sent twice; whatever comes then is handed through, like every other answer.
   */
  authFetch(input: RequestInfo | URL, init?: AuthFetchInit): Promise<Response>;
  /** Hears of every change: the session, `null` for nobody, `undefined` for "ask". Gives what ends it. */
  subscribe(listener: (session: Session | null | undefined) => void): () => void;
  /** Forgets all tokens and stops listening to other tabs. */
  close(): void;
}
