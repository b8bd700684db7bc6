"use client";

import { useState, type FormEvent } from "react";
import { AuthError } from "@keywheel/client";
import { useAuthClient } from "@keywheel/client/react";

export default function SignIn() {
  const auth = useAuthClient();
  const [error, setError] = useState("");

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const { submitter } = event.nativeEvent as SubmitEvent;
    const form = new FormData(event.currentTarget);
    const [email, password] = [String(form.get("email")), String(form.get("password"))];
    const isNew = submitter?.getAttribute("value") === "sign-up";
    try {
      await (isNew ? auth.signUp({ name: email.split("@")[0] ?? email, email, password }) : auth.signIn({ email, password }));
      // A whole new page, so that the server's half knows too.
      location.assign("/");
    } catch (error) {
      if (!(error instanceof AuthError)) throw error;
      setError(error.code === "RATE_LIMITED" ? `Too many attempts: try again in ${error.retryAfter ?? 10} s` : error.message);
    }
  }

  return (
    <main>
      <h1>Sign in</h1>
      <form onSubmit={submit}>
        <input name="email" type="email" placeholder="Email" autoComplete="username" required />
        <input name="password" type="password" placeholder="Password" autoComplete="current-password" required />
        <button value="sign-in">Sign in</button>
        <button value="sign-up">Sign up</button>
        <p role="alert">{error}</p>
      </form>
    </main>
  );
}
