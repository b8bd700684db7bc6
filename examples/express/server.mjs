import cors from "cors";
import express from "express";

import { authenticated, scope } from "./auth.mjs";

const app = express();
app.use(cors({ origin: process.env.WEB_ORIGIN ?? "http://localhost:3000" }));

app.get("/orders", authenticated, (request, response) => {
  response.json([{ owner: request.user.sub, title: "rotate the keys" }]);
});

app.post("/orders", authenticated, scope("orders:write"), express.json(), (request, response) => {
  response.status(201).json({ owner: request.user.sub, title: String(request.body.title) });
});

// One's own alone: the path may name only the one whom the token names.
app.get("/users/:id/orders", authenticated, (request, response) => {
  if (request.params.id !== request.user.sub) return response.status(403).json({ error: "forbidden" });
  response.json([{ owner: request.user.sub, title: "rotate the keys" }]);
});

const server = app.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => {
  console.log(`express serves http://localhost:${server.address().port}`);
});
