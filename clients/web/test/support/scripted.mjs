// A `fetch` that answers by a script and keeps what it was asked, and tokens with times.

export const jwt = (claims) =>
  [{ alg: "EdDSA" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".") + ".signature";

export const json = (body, status = 200, headers = {}) =>
  new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });

export const unauthorized = () => json({ message: "Unauthorized", code: "UNAUTHORIZED" }, 401);

export const SESSION = {
  session: { id: "s1", userId: "ada", expiresAt: "", createdAt: "", updatedAt: "" },
  user: { id: "ada", email: "ada@example.com", name: "Ada", emailVerified: false, createdAt: "", updatedAt: "" },
};

// `routes` maps "METHOD path" to what answers: a function of the request's text. Each call is kept in `.asked`.
export function scripted(routes) {
  const asked = [];
  async function scriptedFetch(input, init) {
    const request = new Request(input, init?.body?.getReader ? { duplex: "half", ...init } : init);
    const url = new URL(request.url);
    const text = request.method === "GET" ? "" : await request.text();
    const call = {
      method: request.method,
      path: url.pathname + url.search,
      url: request.url,
      bearer: request.headers.get("authorization"),
      headers: request.headers,
      credentials: init?.credentials,
      text,
    };
    asked.push(call);
    const answer = routes[`${call.method} ${url.pathname}`];
    if (!answer) throw new TypeError("fetch failed");
    return answer(call);
  }
  scriptedFetch.asked = asked;
  scriptedFetch.count = (path) => asked.filter((call) => call.path.split("?")[0] === path).length;
  return scriptedFetch;
}

// A promise that somebody else keeps.
export function gate() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { opened, open };
}
