/** A token is renewed so long before its end, and a short-lived one in the second half of its life. */
const RENEW_MS = 30_000;

/** A token with its times on this machine's clock. */
export interface Token {
  token: string;
  /** Its `sub`. */
  subject: unknown;
  renewAt: number;
  endsAt: number;
}

/**
 * `asked` is when it was asked for, `date` what the server's clock then said, if the browser shows it. A token that says neither when it
 * was made nor when it ends is not kept.
 */
export function read(token: string, asked: number, date: string | null): Token | undefined {
  try {
    const part = token.split(".")[1] ?? "";
    // Letters beyond ASCII come out wrong, but the same ones always in the same way.
    const { exp, iat, sub } = JSON.parse(atob(part.replace(/-/g, "+").replace(/_/g, "/"))) as Record<string, unknown>;
    if (typeof exp !== "number") return undefined;
    // The user's clock may be wrong by hours, so only the server's times are compared with each other.
    const now = Date.parse(date ?? "") || (typeof iat === "number" ? iat * 1000 : asked);
    const left = exp * 1000 - now;
    return { token, subject: sub, endsAt: asked + left, renewAt: asked + left - Math.min(RENEW_MS, left / 2) };
  } catch {
    return undefined;
  }
}
