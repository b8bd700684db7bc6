// The whole way by hand: sign up or in, a token, a call, sign out, and the call that is refused.
// The token lives in this variable and nowhere else: no storage, no address bar, no markup.
let token = null;
let settings = { api: null, audience: null };
// The service may be below a path.
const base = new URL(".", document.currentScript.src).pathname;

const by = (id) => document.getElementById(id);

function show(user) {
  by("state").textContent = user ? `Signed in as ${user.email}` : "Signed out";
  by("signed-in").hidden = !user;
  by("signed-out").hidden = !!user;
  by("call").hidden = !settings.api;
}

function log(good, text) {
  const item = document.createElement("li");
  item.className = good ? "good" : "bad";
  // As text, whatever a server says: nothing that came from outside is ever markup.
  item.textContent = text;
  by("log").append(item);
}

async function ask(path, body) {
  const options = { credentials: "same-origin", headers: {} };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(`${base}api/auth/${path}`, options);
  const answer = await response.json().catch(() => null);
  return { status: response.status, ok: response.ok, answer };
}

async function enter(event) {
  event.preventDefault();
  const path = event.submitter.value;
  const body = { email: by("email").value, password: by("password").value };
  if (path === "sign-up") body.name = by("name").value;
  const { status, ok, answer } = await ask(`${path}/email`, body);
  log(ok, `${path}: ${status} ${ok ? answer.user.id : answer?.message ?? ""}`);
  if (!ok) return;
  by("password").value = "";
  show(answer.user);
}

async function getToken() {
  const query = settings.audience ? `?audience=${encodeURIComponent(settings.audience)}` : "";
  const { status, ok, answer } = await ask(`token${query}`);
  log(ok, `token: ${status} ${ok ? "" : answer?.message ?? ""}`);
  if (!ok) return false;
  token = answer.token;
  const claims = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(claims), (letter) => letter.charCodeAt(0));
  by("claims").textContent = JSON.stringify(JSON.parse(new TextDecoder().decode(bytes)), null, 2);
  by("with-token").hidden = false;
  by("call-again").hidden = !settings.api;
  return true;
}

async function callApi() {
  const response = await fetch(`${settings.api}/api/personalize`, {
    method: "POST",
    credentials: "omit",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify({ topic: "key rotation" }),
  });
  const answer = await response.json().catch(() => null);
  const said = answer?.content ?? answer?.error_description ?? "";
  log(response.ok, `API: ${response.status} ${said}`);
}

async function callWithFreshToken() {
  if (await getToken()) await callApi();
}

async function signOut() {
  const { status, ok } = await ask("sign-out", {});
  // The token is kept on purpose: the API refuses it although it has not expired.
  log(ok, `sign-out: ${status}`);
  show(null);
}

// A network that is gone is an outcome like any other.
const told = (what) => (event) => what(event).catch((error) => log(false, String(error)));

async function start() {
  settings = await (await fetch(`${base}page.json`)).json();
  const { answer } = await ask("get-session");
  show(answer?.user ?? null);
}

by("form").addEventListener("submit", told(enter));
by("token").addEventListener("click", told(getToken));
by("call").addEventListener("click", told(callWithFreshToken));
by("call-again").addEventListener("click", told(callApi));
by("sign-out").addEventListener("click", told(signOut));
told(start)();
