/** A token is renewed so long before its end, and a short-lived one in the second half of its life. */
const RENEW_MS = 30_000;

/** A token with its times on this machine's clock. */
export interface Token {
  token: string;
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
    // Only `exp` and `iat` are wanted, so letters beyond ASCII may come out wrong.
    const { exp, iat } = JSON.parse(atob(part.replace(/-/g, "+").replace(/_/g, "/"))) as { exp: unknown; iat: unknown };
    if (typeof exp !== "number") return undefined;
    // The user's clock may be wrong by hours, so only the server's times are compared with each other.
    const shown = Date.parse(date ?? "");
    const now = !Number.isNaN(shown) ? shown : typeof iat === "number" ? iat * 1000 : asked;
    const left = exp * 1000 - now;
    return { token, endsAt: asked + left, renewAt: asked + left - Math.min(RENEW_MS, left / 2) };
  } catch {
    return undefined;
  }
}
