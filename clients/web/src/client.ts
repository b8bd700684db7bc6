import { AuthError, refusal } from "./errors.js";
import { read, type Token } from "./tokens.js";
import { transport } from "./transport.js";
import type { AuthClient, AuthClientOptions, AuthFetchInit, Session, SignedOutReason } from "./types.js";
import { allowedOrigins, apiURL, baseOf } from "./urls.js";

/** Longer than a password hash under load takes. */
const ANSWER_MS = 30_000;
/** How long a page goes on with its tokens before it asks whether the cookie is still the same user's. */
const BELIEVED_MS = 60_000;
/** How long a call waits for that answer: a slow auth service must not hold up the backends. */
const PATIENCE_MS = 2000;
const COOKIES_BLOCKED =
  "Signed in, but the browser holds the cookie back: page and auth service must be on one site (localhost for both)";

const isStream = (body: unknown): boolean => body instanceof Object && ("getReader" in body || Symbol.asyncIterator in body);

/** One for the page. On a server: one for each request, for what it keeps belongs to one user. */
export function createAuthClient(options: AuthClientOptions = {}): AuthClient {
  const root = baseOf(options.baseURL ?? "");
  const allowed = allowedOrigins(options.apiOrigins, root);
  const send: typeof fetch = (input, init) => (options.fetch ?? fetch)(input, init);
  const listeners = new Set<(session: Session | null | undefined) => void>();
  const tokens = new Map<string, Token>();
  const flights = new Map<unknown, Promise<unknown>>();
  // Counts who is signed in: what was asked for under another number is not for the one who is now.
  let epoch = 0;
  // The user's id by the last /get-session: null is nobody, undefined not asked yet. The subject of the tokens since the last drop.
  let user: string | null | undefined;
  let subject: unknown;
  // Two calls of /get-session may be answered in the other order: an older answer is not believed after a newer one.
  let [asked, answered] = [0, 0];
  let confirmedAt = 0;

  // On a server there are no tabs, and requests must not hear of each other.
  const channel = globalThis.location && globalThis.BroadcastChannel ? new BroadcastChannel(`keywheel:${root}`) : undefined;
  if (channel) channel.onmessage = ({ data }) => (data === "out" ? end("other-tab") : (drop(), tell(undefined)));

  // The cookie can be changed by another client, a callback or a form, and no script can see it. Whoever then acts in this page has come
  // to it before, so that is when it begins to doubt.
  const events = ["focus", "visibilitychange"];
  const doubt = () => {
    if (document.hidden) return;
    confirmedAt = 0;
    if (listeners.size) void check();
  };
  for (const event of events) globalThis.addEventListener?.(event, doubt);

  function drop(): void {
    epoch += 1;
    user = subject = undefined;
    tokens.clear();
    flights.clear();
  }

  function tell(session: Session | null | undefined): void {
    [...listeners].forEach((listener) => listener(session));
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
    new AuthError("INVALID_RESPONSE", `${root}${path} is no auth service: is baseURL right?`, 200);

  async function getSession(how?: { disableRefresh?: boolean }): Promise<Session | null> {
    const [mine, turn] = [epoch, (asked += 1)];
    const [data] = await call(how?.disableRefresh ? "/get-session?disableRefresh=true" : "/get-session");
    if (data !== null && typeof data?.user?.id !== "string") throw unexpected("/get-session");
    if (mine !== epoch || turn < answered) return getSession(how);
    answered = turn;
    const id: string | null = data && data.user.id;
    if (user === undefined ? tokens.size && subject !== id : user !== id) {
      // Tokens from before the user was known are this tab's own business: their subject may be no user's id.
      if (user !== undefined) channel?.postMessage(data ? "in" : "out");
      if (data) drop();
      else end("no-session");
    }
    user = id;
    tell(data);
    return data;
  }

  function check(): Promise<unknown> {
    const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
    // While the auth service is away, the tokens go on serving.
    const confirm = () => Promise.race([getSession(), patience]).catch(() => {}).finally(() => (confirmedAt = Date.now()));
    return shared(check, confirm);
  }

  async function enter(path: string, body: object): Promise<Session | null> {
    const [data] = await call(path, body);
    if (!data) throw unexpected(path);
    drop();
    if (data.token === null || !data.user) return null;
    const session = await getSession();
    if (!session) throw new AuthError("COOKIES_BLOCKED", COOKIES_BLOCKED, 200);
    channel?.postMessage("in");
    return session;
  }

  async function getToken({ audience = options.audience ?? "" } = {}): Promise<string> {
    if (channel && tokens.size && Math.abs(Date.now() - confirmedAt) > BELIEVED_MS) await check();
    const kept = tokens.get(audience);
    return kept && Date.now() < kept.renewAt ? kept.token : shared(audience, () => renew(audience, kept));
  }

  // However many want it, it is asked for once.
  function shared<T>(what: unknown, ask: () => Promise<T>): Promise<T> {
    let flight = flights.get(what) as Promise<T> | undefined;
    if (!flight) {
      flight = ask().finally(() => flights.get(what) === flight && flights.delete(what));
      flights.set(what, flight);
    }
    return flight;
  }

  async function renew(audience: string, kept: Token | undefined): Promise<string> {
    const [mine, whose, asked] = [epoch, user, Date.now()];
    try {
      const [data, headers] = await call(audience ? `/token?audience=${encodeURIComponent(audience)}` : "/token");
      if (typeof data?.token !== "string") throw unexpected("/token");
      if (mine === epoch) {
        const token = read(data.token, asked, headers.get("date"));
        if (!token) return data.token;
        const known = subject ?? user;
        const isNew = known !== undefined && known !== token.subject;
        if (isNew && whose === user) {
          // Somebody else has signed in; or this service's subjects are no user ids, and then it names the same user again.
          await getSession();
          if (subject) drop();
        }
        if (mine === epoch && (!isNew || whose === user)) {
          subject = token.subject;
          confirmedAt = Date.now();
          tokens.set(audience, token);
          return data.token;
        }
      }
    } catch (error) {
      if (mine === epoch) {
        if ((error as AuthError).status === 401) tokens.clear();
        // The auth service may be away for a moment; what is still good need not wait for it.
        else if (kept && Date.now() < kept.endsAt) return kept.token;
        throw error;
      }
    }
    return mine === epoch ? renew(audience, kept) : getToken({ audience });
  }

  async function authFetch(input: RequestInfo | URL, { audience, ...init }: AuthFetchInit = {}): Promise<Response> {
    // A copy, as fetch makes one: nobody else can change it between the look at its URL and the sending.
    const request = typeof input === "object" && "url" in input ? new Request(input, init) : undefined;
    const url = apiURL(request ? request.url : String(input), allowed);
    const rest: RequestInit = request ? { signal: request.signal } : init;
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
      throw new AuthError("SESSION_CHANGED", "Somebody signed in or out meanwhile");
    };
    const attempt = (token: string, to: string | Request): Promise<Response> => {
      const headers = new Headers((request ?? init).headers);
      headers.set("authorization", `Bearer ${token}`);
      return transport(send, to, { ...rest, headers });
    };

    const token = await fresh();
    const once = isStream(rest.body);
    // A request's body can be read but once, so the copy goes first.
    const response = await attempt(token, request?.clone() ?? url);
    if (response.status !== 401 || mine !== epoch) return response;

    if (tokens.get(wanted)?.token === token) tokens.delete(wanted);
    if (once) return response;
    const second = await fresh();
    void response.body?.cancel();
    const last = await attempt(second, request ?? url);
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
      for (const event of events) globalThis.removeEventListener?.(event, doubt);
    },
  };
}
