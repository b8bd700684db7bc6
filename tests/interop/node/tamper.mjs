// Changes to a signed token, each of which a verifier must see.

const decode = (segment) => Buffer.from(segment, "base64url");
const encode = (data) => Buffer.from(data).toString("base64url");

// The same token about somebody else.
export function otherPayload(token) {
  const [header, payload, signature] = token.split(".");
  const claims = { ...JSON.parse(decode(payload)), sub: "somebody-else" };
  return `${header}.${encode(JSON.stringify(claims))}.${signature}`;
}

// One bit of the signature is another.
export function otherSignature(token) {
  const [header, payload, signature] = token.split(".");
  const changed = decode(signature);
  changed[changed.length >> 1] ^= 1;
  return `${header}.${payload}.${encode(changed)}`;
}
