import type { ReactNode } from "react";

import { Providers } from "./providers";
import { currentSession } from "./session";

export const metadata = { title: "Orders" };

export default async function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <Providers session={await currentSession()}>{children}</Providers>
      </body>
    </html>
  );
}
