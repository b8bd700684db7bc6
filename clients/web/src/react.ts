"use client";

import { createContext, createElement, useContext, useEffect, useState, useSyncExternalStore } from "react";
import type { ReactNode } from "react";
import type { AuthClient, Session, User } from "./types.js";

/** What is known of who is signed in. */
export interface SessionState {
  session: Session | null;
  user: User | null;
  /** Nothing is known yet. */
  isPending: boolean;
  /** Why it could not be found out; an `AuthError` unless something is broken. */
  error: Error | null;
  refetch: () => Promise<void>;
}

interface Store {
  client: AuthClient;
  get: () => SessionState;
  subscribe: (changed: () => void) => () => void;
}

function createStore(client: AuthClient, initial?: Session | null): Store {
  const watchers = new Set<() => void>();
  let state: SessionState | undefined;
  let asked = false;
  const set = (found: Session | null, isPending = false, error: Error | null = null) => {
    // The session is asked for again and again; what is the same stays the same object, so that nothing is rendered or run for it.
    const isSame = JSON.stringify(found) === JSON.stringify(state?.session);
    if (isSame && state?.isPending === isPending && state.error === error) return;
    const session = isSame && state ? state.session : found;
    state = { session, user: session?.user ?? null, isPending, error, refetch };
    for (const watcher of [...watchers]) watcher();
  };
  const refetch = async () => {
    asked = true;
    try {
      // Its answer comes by the subscription, in the order of answers.
      await client.getSession();
    } catch (error) {
      set(state?.session ?? null, false, error as Error);
    }
  };
  set(initial ?? null, initial === undefined);
  let leave: (() => void) | undefined;
  return {
    client,
    get: () => state as SessionState,
    subscribe(watcher) {
      watchers.add(watcher);
      leave ??= client.subscribe((session) => (session === undefined ? void refetch() : set(session)));
      // Also where the server has found it out: its page may come from a cache, and the cookie be somebody else's by now.
      if (!asked) void refetch();
      return () => {
        watchers.delete(watcher);
        // Strict mode goes and comes back at once; whoever comes later has missed what happened meanwhile, and asks.
        queueMicrotask(() => {
          if (watchers.size) return;
          leave?.();
          leave = undefined;
          asked = false;
        });
      };
    },
  };
}

const Context = createContext<Store | null>(null);

export interface AuthProviderProps {
  client: AuthClient;
  /** What the server already knows, so that the first paint does not wait; `null` for nobody. */
  initialSession?: Session | null;
  children?: ReactNode;
}

/** Around whatever uses the hooks. */
export function AuthProvider({ client, initialSession, children }: AuthProviderProps) {
  const [store, setStore] = useState(() => createStore(client, initialSession));
  useEffect(() => {
    if (store.client !== client) setStore(createStore(client));
  }, [store, client]);
  return createElement(Context.Provider, { value: store }, children);
}

function useStore(): Store {
  const store = useContext(Context);
  if (!store) throw new Error("There is no <AuthProvider> around this component");
  return store;
}

/** Who is signed in, kept up to date across tabs. */
export function useSession(): SessionState {
  const store = useStore();
  return useSyncExternalStore(store.subscribe, store.get, store.get);
}

/** `fetch` with the user's token; the same function at every render. */
export function useAuthFetch(): AuthClient["authFetch"] {
  return useStore().client.authFetch;
}

/** The client that the provider was given. */
export function useAuthClient(): AuthClient {
  return useStore().client;
}
