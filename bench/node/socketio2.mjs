// Socket.IO 2.5 with socketio-jwt 4.6, which answers the event "authenticate".

import { createRequire } from "node:module"
import { create, listen, secret } from "./serve.mjs"

const require = createRequire(import.meta.url)
const socketio = require("socket.io-v2")
const { authorize } = require("socketio-jwt")

const http = create({ emit: text => io.emit("news", text) })
const io = socketio(http)
io.sockets.on("connection", authorize({ secret, timeout: 15000 })).on("authenticated", socket => {
	socket.on("echo", (text, ack) => ack(text))
})
listen(http)
