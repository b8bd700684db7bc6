import { redirect } from "next/navigation";

import { Orders } from "./orders";
import { currentSession } from "./session";

/** A server component: it knows the user before anything is sent. */
export default async function Page() {
  const session = await currentSession();
  if (session === undefined) return <p role="alert">It cannot be found out just now who you are. Try again in a moment.</p>;
  if (!session) redirect("/sign-in");
  return (
    <main>
      <h1>Hello {session.user.name}</h1>
      <Orders />
    </main>
  );
}
