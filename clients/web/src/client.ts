import { AuthError, refusal } from "./errors.js";
import { read, type Token } from "./tokens.js";
import { transport, urlOf } from "./transport.js";
import type { AuthClient, AuthClientOptions, AuthFetchInit, Session, SignedOutReason } from "./types.js";

/** Longer than a password hash under load takes. */
const ANSWER_MS = 30_000;
const COOKIES_BLOCKED =
  "Signed in, but the browser does not send the session cookie back. Serve the page and the auth service from one site " +
  "(app.example.com and auth.example.com, or localhost for both), or pass /api/auth through the page's own origin.";

function base(baseURL: string): string {
  const url = baseURL.replace(/\/+$/, "");
  if (url && !/^(https?:\/)?\/[^/]/.test(url)) throw new TypeError(`baseURL "${baseURL}" must begin with https://, http:// or /`);
  return /^(https?:\/\/[^/]+)?$/.test(url) ? `${url}/api/auth` : url;
}

const isStream = (body: unknown): boolean => body instanceof Object && ("getReader" in body || Symbol.asyncIterator in body);

/** One for the page. On a server: one for each request, for what it keeps belongs to one user. */
export function createAuthClient(options: AuthClientOptions = {}): AuthClient {
  const root = base(options.baseURL ?? "");
  const send: typeof fetch = (input, init) => (options.fetch ?? fetch)(input, init);
  const listeners = new Set<(session: Session | null | undefined) => void>();
  const tokens = new Map<string, Token>();
  const flights = new Map<string, Promise<string>>();
  // Counts who is signed in: what was asked for under another number is not for the one who is now.
  let epoch = 0;

  // On a server there are no tabs, and requests must not hear of each other.
  const channel = globalThis.location && globalThis.BroadcastChannel ? new BroadcastChannel(`keywheel:${root}`) : undefined;
  if (channel) channel.onmessage = ({ data }) => (data === "out" ? end("other-tab") : (drop(), tell(undefined)));

  function drop(): void {
    epoch += 1;
    tokens.clear();
    flights.clear();
  }

  function tell(session: Session | null | undefined): void {
    for (const listener of [...listeners]) listener(session);
  }

  function end(reason: SignedOutReason): void {
    drop();
    tell(null);
    options.onSignedOut?.(reason);
  }

  async function call(path: string, body?: object): Promise<[data: any, headers: Headers]> {
    const signal = AbortSignal.timeout(ANSWER_MS);
    const init: RequestInit = { credentials: "include", cache: "no-store", signal };
    if (body) Object.assign(init, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    let response, text;
    try {
      response = await transport(send, root + path, init);
      text = await response.text();
    } catch (error) {
      if (error instanceof AuthError) throw error;
      const code = signal.aborted ? "TIMEOUT" : "NETWORK_ERROR";
      throw new AuthError(code, `${root}${path} gave no whole answer`, 0, undefined, error);
    }
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      // Told below.
    }
    if (!response.ok) throw refusal(response, data);
    return [data, response.headers];
  }

  const unexpected = (path: string) =>
    new AuthError("INVALID_RESPONSE", `${root}${path} did not answer like an auth service: is baseURL right?`, 200);

  async function getSession(how?: { disableRefresh?: boolean }): Promise<Session | null> {
    const mine = epoch;
    const [data] = await call(how?.disableRefresh ? "/get-session?disableRefresh=true" : "/get-session");
    if (data !== null && typeof data?.user?.id !== "string") throw unexpected("/get-session");
    if (mine !== epoch) return getSession(how);
    if (!data && tokens.size) drop();
    tell(data);
    return data;
  }

  async function enter(path: string, body: object): Promise<Session | null> {
    const [data] = await call(path, body);
    if (!data) throw unexpected(path);
    drop();
    if (!data.token) return null;
    const session = await getSession();
    if (!session) throw new AuthError("COOKIES_BLOCKED", COOKIES_BLOCKED, 200);
    channel?.postMessage("in");
    return session;
  }

  function getToken({ audience = options.audience ?? "" } = {}): Promise<string> {
    const kept = tokens.get(audience);
    if (kept && Date.now() < kept.renewAt) return Promise.resolve(kept.token);
    let flight = flights.get(audience);
    if (!flight) {
      flight = renew(audience, kept).finally(() => flights.get(audience) === flight && flights.delete(audience));
      flights.set(audience, flight);
    }
    return flight;
  }

  async function renew(audience: string, kept: Token | undefined): Promise<string> {
    const [mine, asked] = [epoch, Date.now()];
    try {
      const [data, headers] = await call(audience ? `/token?audience=${encodeURIComponent(audience)}` : "/token");
      if (typeof data?.token !== "string") throw unexpected("/token");
      if (mine === epoch) {
        const token = read(data.token, asked, headers.get("date"));
        if (token) tokens.set(audience, token);
        return data.token;
      }
    } catch (error) {
      if (mine === epoch) {
        if ((error as AuthError).status === 401) tokens.clear();
        // The auth service may be away for a moment; what is still good need not wait for it.
        else if (kept && Date.now() < kept.endsAt) return kept.token;
        throw error;
      }
    }
    return getToken({ audience });
  }

  async function authFetch(input: RequestInfo | URL, { audience, ...init }: AuthFetchInit = {}): Promise<Response> {
    const request = input instanceof Object && "url" in input ? input : undefined;
    const { origin } = urlOf(input);
    if (options.apiOrigins && !options.apiOrigins.includes(origin))
      throw new AuthError("FOREIGN_ORIGIN", `${origin} is not among apiOrigins: it gets no token`);
    const mine = epoch;
    const wanted = audience ?? options.audience ?? "";

    const fresh = async (): Promise<string> => {
      try {
        const token = await getToken({ audience: wanted });
        if (mine === epoch) return token;
      } catch (error) {
        if (mine !== epoch || (error as AuthError).status !== 401) throw error;
        end("no-session");
        throw error;
      }
      // One user's request never goes out with another's token.
      throw new AuthError("SESSION_CHANGED", "Somebody signed in or out while this request waited");
    };
    const attempt = (token: string, to: RequestInfo | URL): Promise<Response> => {
      const headers = new Headers(init.headers ?? request?.headers);
      headers.set("authorization", `Bearer ${token}`);
      return transport(send, to, { ...init, headers });
    };

    const token = await fresh();
    const once = isStream(init.body);
    // A request's body can be read but once, so the copy goes first.
    const response = await attempt(token, request && !init.body ? request.clone() : input);
    if (response.status !== 401 || mine !== epoch) return response;

    if (tokens.get(wanted)?.token === token) tokens.delete(wanted);
    if (once) return response;
    const second = await fresh();
    void response.body?.cancel();
    const last = await attempt(second, input);
    if (last.status === 401 && mine === epoch) end("refused");
    return last;
  }

  return {
    signUp: (account) => enter("/sign-up/email", account),
    signIn: (credentials) => enter("/sign-in/email", credentials),
    async signOut() {
      drop();
      await call("/sign-out", {});
      channel?.postMessage("out");
      end("sign-out");
    },
    getSession,
    getToken,
    authFetch,
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close() {
      drop();
      listeners.clear();
      channel?.close();
    },
  };
}
