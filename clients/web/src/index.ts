export { createAuthClient } from "./client.js";
export { AuthError } from "./errors.js";
export type {
  AuthClient,
  AuthClientOptions,
  AuthFetchInit,
  Credentials,
  NewAccount,
  Session,
  SignedOutReason,
  User,
} from "./types.js";
export type { AuthErrorCode } from "./errors.js";
