import { AuthError } from "./errors.js";

/** The page's own origin. A `<base>` does not change it. */
export const pageOrigin = (): string | undefined => globalThis.location?.origin;

/** A URL as `fetch` would resolve it: in a page against its `<base>`. */
export const resolve = (url: string, base = globalThis.document?.baseURI ?? globalThis.location?.href): URL => new URL(url, base);

/** The auth service's URL up to the method's name. A path is one on the page's own origin, whatever its `<base>` says. */
export function baseOf(baseURL: string): string {
  const url = baseURL.replace(/\/+$/, "");
  if (url && !/^(https?:\/)?\/[^/]/.test(url)) throw new TypeError(`baseURL "${baseURL}" must begin with https://, http:// or /`);
  const root = /^(https?:\/\/[^/]+)?$/.test(url) ? `${url}/api/auth` : url;
  return globalThis.location ? resolve(root, location.href).href : root;
}

/** The origins that tokens may go to, as `URL.origin` writes them. Default: the page's own; on a server, the auth service's. */
export function allowedOrigins(named: readonly string[] | undefined, root: string): string[] {
  if (!named) return [pageOrigin() ?? (root[0] === "/" ? "" : resolve(root).origin)];
  return named.map((text) => {
    const { origin, href } = resolve(text, "none:/");
    if (href === `${origin}/` && !text.includes("*")) return origin;
    throw new TypeError(`apiOrigins: "${text}" is no origin`);
  });
}

/** The whole URL, if a token may go there. It is what must be sent: resolved again, it could be another. */
export function apiURL(text: string, allowed: readonly string[]): string {
  const { origin, href } = resolve(text);
  // With a password in it, or as blob:, whose origin is the page's, it begins otherwise.
  if (href.startsWith(`${origin}/`) && allowed.includes(origin)) return href;
  throw new AuthError("FOREIGN_ORIGIN", `${origin} gets no token without apiOrigins: ["${origin}"]`);
}
