// A front end as its users write it: React, TanStack Query, one client for the page.

import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";

import { createAuthClient } from "../../dist/index.js";
import { AuthProvider, useAuthClient, useAuthFetch, useSession } from "../../dist/react.js";

const { auth, api, initialSession } = window.SERVICES;
window.signedOut = [];
const client = createAuthClient({
  baseURL: auth,
  audience: "orders",
  apiOrigins: [api],
  onSignedOut: (reason) => window.signedOut.push(reason),
});
window.client = client;
window.createAuthClient = createAuthClient;

function Orders() {
  const { user } = useSession();
  const authFetch = useAuthFetch();
  const [path, setPath] = useState("/orders");
  const [done, setDone] = useState(0);
  const { data, error, refetch, isFetching } = useQuery({
    // Under the user's id, so that nobody sees what was loaded for somebody else.
    queryKey: ["orders", user.id, path],
    queryFn: async ({ signal }) => {
      const response = await authFetch(api + path, { signal });
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      return response.json();
    },
    retry: false,
    enabled: false,
  });
  return (
    <section>
      <button onClick={() => setPath("/admin")}>admin</button>
      <button onClick={() => refetch().then(() => setDone(done + 1))}>call</button>
      <output id="answer" data-done={done}>{isFetching ? "…" : error ? `${error.code ?? error.message}` : data ? `200 ${data.email}` : "not asked"}</output>
    </section>
  );
}

function Entrance() {
  const client = useAuthClient();
  const [error, setError] = useState(null);
  const enter = (how) => async (event) => {
    event.preventDefault();
    setError(null);
    const [email, password] = ["email", "password"].map((name) => document.getElementById(name).value);
    try {
      await (how === "up" ? client.signUp({ name: email, email, password }) : client.signIn({ email, password }));
    } catch (error) {
      setError(error);
    }
  };
  return (
    <form onSubmit={enter("in")}>
      <input id="email" type="email" />
      <input id="password" type="password" />
      <button>sign in</button>
      <button type="button" onClick={enter("up")}>sign up</button>
      <p role="alert">{error && `${error.code}: ${error.message}`}</p>
    </form>
  );
}

function Page() {
  const { user, isPending, error } = useSession();
  if (isPending) return <h1>…</h1>;
  return (
    <main>
      <h1>{user ? user.email : error ? error.code : "nobody"}</h1>
      {user ? <button onClick={() => client.signOut()}>sign out</button> : <Entrance />}
      {user && <Orders />}
    </main>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <AuthProvider client={client} initialSession={initialSession}>
      <QueryClientProvider client={new QueryClient()}>
        <Page />
      </QueryClientProvider>
    </AuthProvider>
  </StrictMode>,
);
