"use client";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import type { Session } from "@keywheel/client";
import { AuthProvider } from "@keywheel/client/react";

import { auth } from "./auth";

export function Providers({ session, children }: { session: Session | null | undefined; children: ReactNode }) {
  const [queries] = useState(() => new QueryClient());
  return (
    <AuthProvider client={auth} initialSession={session}>
      <QueryClientProvider client={queries}>{children}</QueryClientProvider>
    </AuthProvider>
  );
}
