import { AuthError } from "./errors.js";
import { pageOrigin, resolve } from "./urls.js";

/** For the probe that tells a closed door from a missing house. */
const PROBE_MS = 5000;

/** `fetch` that says why it failed; what the caller aborted is handed through. */
export async function transport(
  send: typeof fetch,
  input: string | Request,
  init: RequestInit,
): Promise<Response> {
  try {
    return await send(input, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw await diagnosis(send, resolve(typeof input === "string" ? input : input.url).origin, error);
  }
}

// A browser tells a page neither why a request failed nor whether the server is there. An opaque request needs nobody's permission:
// if that gets through, then only the permission was missing.
async function diagnosis(send: typeof fetch, origin: string, cause: unknown): Promise<AuthError> {
  const page = pageOrigin();
  if (page && page !== origin) {
    try {
      await send(origin, { mode: "no-cors", credentials: "omit", signal: AbortSignal.timeout(PROBE_MS) });
      const message = `${origin} can be reached, but does not trust the origin ${page} (CORS)`;
      return new AuthError("CORS_BLOCKED", message, 0, undefined, cause);
    } catch {
      // It cannot be reached at all.
    }
  }
  const message = `${origin} cannot be reached, or this page may not ask it (content security policy)`;
  return new AuthError("NETWORK_ERROR", message, 0, undefined, cause);
}
