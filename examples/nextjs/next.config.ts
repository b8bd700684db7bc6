import type { NextConfig } from "next";

// The browser talks to the auth service through the page's own origin: its cookie is first-party, and server components see it.
const auth = process.env.AUTH_URL ?? "http://localhost:3001";

const config: NextConfig = {
  rewrites: async () => [{ source: "/api/auth/:path*", destination: `${auth}/api/auth/:path*` }],
  turbopack: { root: import.meta.dirname },
};

export default config;
