import { AuthError } from "./errors.js";

/** For the probe that tells a closed door from a missing house. */
const PROBE_MS = 5000;

const pageOrigin = (): string | undefined => globalThis.location?.origin;

export const urlOf = (input: RequestInfo | URL): URL =>
  new URL(input instanceof Object && "url" in input ? input.url : input, globalThis.location?.href);

/** `fetch` that says why it failed; what the caller aborted is handed through. */
export async function transport(
  send: typeof fetch,
  input: RequestInfo | URL,
  init: RequestInit,
): Promise<Response> {
  try {
    return await send(input, init);
  } catch (error) {
    const signal = init.signal ?? (input instanceof Object && "signal" in input ? input.signal : undefined);
    if (signal?.aborted) throw error;
    throw await diagnosis(send, urlOf(input).origin, error);
  }
}

// A browser tells a page neither why a request failed nor whether the server is there. An opaque request needs nobody's permission:
// if that gets through, then only the permission was missing.
async function diagnosis(send: typeof fetch, origin: string, cause: unknown): Promise<AuthError> {
  const page = pageOrigin();
  if (page && page !== origin) {
    try {
      await send(origin, { mode: "no-cors", credentials: "omit", signal: AbortSignal.timeout(PROBE_MS) });
      const message = `${origin} can be reached, but does not let pages of ${page} read its answers (CORS): add ${page} to its trusted origins`;
      return new AuthError("CORS_BLOCKED", message, 0, undefined, cause);
    } catch {
      // It cannot be reached at all.
    }
  }
  const message = `${origin} cannot be reached: no network, nothing listens there, or this page may not ask it (content security policy, https to http)`;
  return new AuthError("NETWORK_ERROR", message, 0, undefined, cause);
}
