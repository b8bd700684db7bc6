/** The client's own codes, the server's most frequent ones, and whatever else a server says. */
export type AuthErrorCode =
  | "RATE_LIMITED"
  | "NETWORK_ERROR"
  | "CORS_BLOCKED"
  | "COOKIES_BLOCKED"
  | "TIMEOUT"
  | "INVALID_RESPONSE"
  | "SESSION_CHANGED"
  | "FOREIGN_ORIGIN"
  | "UNAUTHORIZED"
  | "INVALID_EMAIL_OR_PASSWORD"
  | "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL"
  | "PASSWORD_TOO_SHORT"
  | "PASSWORD_TOO_LONG"
  | "INVALID_EMAIL"
  | "VALIDATION_ERROR"
  | "INVALID_ORIGIN"
  | "UNKNOWN_AUDIENCE"
  | (string & {});

/** What went wrong, for a program by `code` and for a person by `message`. */
export class AuthError extends Error {
  override readonly name = "AuthError";
  readonly code: AuthErrorCode;
  /** The HTTP status of the answer; 0 if there was none. */
  readonly status: number;
  /** Seconds until it makes sense to try again, where the server said so. */
  readonly retryAfter: number | undefined;

  constructor(code: AuthErrorCode, message: string, status = 0, retryAfter?: number, cause?: unknown) {
    super(message, { cause });
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** What an answer other than 2xx means. `body` is its JSON, if it was that. */
export function refusal(response: Response, body: { code?: unknown; message?: unknown } | null | undefined): AuthError {
  const { status, headers } = response;
  const wait = headers.get("retry-after") ?? headers.get("x-retry-after");
  let retryAfter: number | undefined;
  if (wait) {
    // Seconds, or a date (RFC 9110 §10.2.3).
    const seconds = Number.isNaN(+wait) ? (Date.parse(wait) - Date.now()) / 1000 : +wait;
    if (!Number.isNaN(seconds)) retryAfter = Math.max(0, Math.ceil(seconds));
  }
  const code = status === 429 ? "RATE_LIMITED" : typeof body?.code === "string" ? body.code : `HTTP_${status}`;
  const message = typeof body?.message === "string" ? body.message : `The auth service answered ${status}`;
  return new AuthError(code, message, status, retryAfter);
}
