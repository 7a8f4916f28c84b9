// What every server on Node has: the paths of the load generator, and its end when the parent ends.

import { createServer } from "node:http"

export const secret = process.env.SOCKETAUTH_BENCH_SECRET

// body returns the text of a request.
async function body(request) {
	let text = ""
	for await (const chunk of request.setEncoding("utf8")) text += chunk
	return text
}

// create returns an HTTP server. emit sends a text to all sockets. login, if there is one, returns
// the answer to the fields of POST /login.
export function create({ emit, login }) {
	return createServer(async (request, response) => {
		const url = new URL(request.url, "http://localhost")
		try {
			if (request.method === "POST" && url.pathname === "/bench/broadcast") {
				const text = await body(request)
				for (let i = 0; i < Number(url.searchParams.get("n")); i++) emit(`${i} ${text}`)
			} else if (request.method === "POST" && url.pathname === "/login" && login) {
				response.setHeader("Content-Type", "application/json")
				response.write(JSON.stringify(await login(JSON.parse(await body(request)))))
			} else if (url.pathname !== "/bench/ready") {
				response.statusCode = 404
			}
		} catch (error) {
			console.error(error)
			response.statusCode = 500
		}
		response.end()
	})
}

// listen serves until standard input ends.
export function listen(http) {
	http.listen(0, "127.0.0.1", 4096, () => console.log(`http://127.0.0.1:${http.address().port}`))
	process.stdin.on("end", () => process.exit(0)).resume()
}
