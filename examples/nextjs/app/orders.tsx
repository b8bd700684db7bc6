"use client";

import { useQuery } from "@tanstack/react-query";
import { useAuthClient, useAuthFetch, useSession } from "@keywheel/client/react";

import { API } from "./auth";

interface Order {
  owner: string;
  title: string;
}

/** A client component: it calls the API with the user's token. */
export function Orders() {
  const { user } = useSession();
  const auth = useAuthClient();
  const authFetch = useAuthFetch();
  const orders = useQuery({
    queryKey: ["orders", user?.id],
    queryFn: async ({ signal }) => {
      const response = await authFetch(`${API}/orders`, { signal });
      if (!response.ok) throw new Error(`The API answered ${response.status}`);
      return (await response.json()) as Order[];
    },
    enabled: user !== null,
  });
  return (
    <>
      {orders.error && <p role="alert">{orders.error.message}</p>}
      <ul>{orders.data?.map(({ owner, title }) => <li key={title}>{owner === user?.id ? `Mine: ${title}` : title}</li>)}</ul>
      <button onClick={() => orders.refetch()}>Refresh</button>
      <button onClick={() => auth.signOut()}>Sign out</button>
    </>
  );
}
