// Socket.IO 4. With the argument "thream", sockets are authenticated by @thream/socketio-jwt, and
// /login compares the password with its hash.

import { authorize } from "@thream/socketio-jwt"
import { compare, hash } from "bcrypt"
import jwt from "jsonwebtoken"
import { Server } from "socket.io"
import { create, listen, secret } from "./serve.mjs"

const authenticates = process.argv[2] === "thream"
const hashed = authenticates && (await hash("correct horse battery staple", 10))

async function login({ username, password }) {
	if (!(await compare(password, hashed))) throw new Error("wrong password")
	return { token: jwt.sign({ sub: username }, secret, { expiresIn: "24h" }) }
}

const http = create({ emit: text => io.emit("news", text), login: authenticates ? login : undefined })
const io = new Server(http)
if (authenticates) io.use(authorize({ secret }))
io.on("connection", socket => socket.on("echo", (text, ack) => ack(text)))
listen(http)
