// What fast-jwt and jose take to verify the tokens that `cargo bench --bench peers` hands over: { publicKey, jwk, alg, issuer,
// audience, tokens } on standard input. Each has its key ready and checks what Keywheel checks. Prints nanoseconds a token.
import { createPublicKey } from 'node:crypto'
import { createVerifier } from 'fast-jwt'
import { importJWK, jwtVerify } from 'jose'

const input = JSON.parse(await new Response(process.stdin).text())
const { jwk, alg, issuer, audience, tokens } = input
const pem = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
const options = { key: pem, algorithms: [alg], allowedIss: issuer, allowedAud: audience }
const fast = createVerifier(options)
const cached = createVerifier({ ...options, cache: 2 * tokens.length })
const key = await importJWK(jwk, alg)

const contenders = {
  'fast-jwt': token => fast(token),
  'fast-jwt, cached': token => cached(token),
  jose: token => jwtVerify(token, key, { issuer, audience, algorithms: [alg] })
}
for (const token of tokens) cached(token)

const median = numbers => numbers.sort((a, b) => a - b)[numbers.length >> 1]
const times = Object.fromEntries(Object.keys(contenders).map(name => [name, []]))
for (let round = 0; round < 9; round++) {
  for (const [name, verify] of Object.entries(contenders)) {
    const start = process.hrtime.bigint()
    let count = 0
    while (process.hrtime.bigint() - start < 100_000_000n) {
      for (let i = 0; i < 50; i++) {
        const verdict = verify(tokens[count++ % tokens.length])
        if (verdict instanceof Promise) await verdict
      }
    }
    times[name].push(Number(process.hrtime.bigint() - start) / count)
  }
}
for (const [name, all] of Object.entries(times)) console.log(`${name}\t${Math.round(median(all))}`)
