// What users write must compile, and what they may not write must not.

import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";

import { AuthError, createAuthClient, type Session } from "@keywheel/client";
import { AuthProvider, useAuthFetch, useSession } from "@keywheel/client/react";

export const auth = createAuthClient({
  baseURL: "https://auth.example.com",
  audience: "orders",
  apiOrigins: ["https://api.example.com"],
  onSignedOut: (reason) => {
    const known: "sign-out" | "other-tab" | "no-session" | "refused" = reason;
    location.assign(`/sign-in?because=${known}`);
  },
});

export async function signIn(email: string, password: string): Promise<string> {
  try {
    const session: Session | null = await auth.signIn({ email, password, rememberMe: false });
    return session?.user.name ?? "one more step";
  } catch (error) {
    if (error instanceof AuthError && error.code === "RATE_LIMITED") return `wait ${error.retryAfter ?? 10} s`;
    throw error;
  }
}

export const token: Promise<string> = auth.getToken({ audience: "stock" });
export const account = auth.signUp({ name: "Ada", email: "a@b", password: "correct horse", softwareBackground: "C" });
// @ts-expect-error an account needs a name
void auth.signUp({ email: "a@b", password: "correct horse" });
// @ts-expect-error there is no such option
createAuthClient({ baseUrl: "https://auth.example.com" });

function Orders() {
  const { user } = useSession();
  const authFetch = useAuthFetch();
  const { data } = useQuery({
    queryKey: ["orders", user?.id],
    queryFn: async ({ signal }): Promise<string[]> => {
      const response = await authFetch("https://api.example.com/orders", { signal, audience: "orders" });
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      return response.json() as Promise<string[]>;
    },
    enabled: user !== null,
  });
  // @ts-expect-error nobody may be signed in
  return <p title={user.name}>{data?.length}</p>;
}

export const App = () => (
  <AuthProvider client={auth}>
    <QueryClientProvider client={new QueryClient()}>
      <Orders />
    </QueryClientProvider>
  </AuthProvider>
);
