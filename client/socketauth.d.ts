/**
 * connecting: for the first time, or as somebody else, and for the moment in which a page that was
 * just opened finds out whether somebody is signed in; offline: the connection is lost, and it goes
 * on trying.
 */
export type State = "signed-out" | "connecting" | "online" | "offline" | "expired";

/**
 * What became of the session, besides its state: "renewed" (the token was replaced in time), "rotated" (another tab
 * has a newer one), "refused" (with a Refusal), "storage_refused" and "storage_full" (the session is this tab's alone).
 */
export type Notice = "renewed" | "rotated" | "refused" | "storage_refused" | "storage_full";

export interface Refusal {
  message: string;
  code: string;
  /** Whether the token that was presented is dead. */
  terminal: boolean;
  /** When to come back, in seconds. The client keeps to it by itself. */
  retryAfter?: number;
}

/** What is needed of a Storage. It is shared by all clients that are given it. */
export type TokenStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/**
 * The same of a storage that answers with promises, such as React Native's AsyncStorage. Tabs share one only where
 * there are Web Locks. One that fails, or takes 5 seconds, is given up for memory.
 */
export interface AsyncTokenStorage {
  getItem(key: string): Promise<string | null | undefined>;
  setItem(key: string, value: string): Promise<unknown>;
  removeItem(key: string): Promise<unknown>;
}

export interface Options {
  /** Where the server is; the page's own origin. Its path does not count. Where there is neither, the client does nothing. */
  url?: string | URL;
  /** socket.io-client's function, 2.x, 3.x or 4.x. None: a small client of its own, over WebSocket alone. */
  io?: (url: string, options: any) => any;
  /** More options for io, such as `{ transports: ["websocket"] }`. */
  transport?: Record<string, unknown>;
  /** Where the token is kept: localStorage. sessionStorage: a session for each tab. null: in memory, until a reload. In Node there is none but yours. */
  storage?: TokenStorage | AsyncTokenStorage | null;
  /** The key in the storage; "socketauth.token". Those beside it begin with it. Give each server of an origin its own. */
  key?: string;
  /** What tabs take turns by: navigator.locks. null, or where there are none: the storage. */
  locks?: LockManager | null;
  /** "/login" */
  loginPath?: string;
  /** "/register" */
  registerPath?: string;
  /** Where the server has Socket.IO: "/socket.io/". */
  path?: string;
  /** The name of a code in the URL's fragment: "code". false: codes in URLs are left alone. */
  fragment?: string | false;
  /** ms before the first try to come back, about; doubled at each failure. 1000 */
  minDelay?: number;
  /** ms between tries at most, unless the server says longer. 30000 */
  maxDelay?: number;
  /** The class of the client of its own; the global one. */
  WebSocket?: typeof WebSocket;
}

export declare class SocketAuthError extends Error {
  /**
   * The server's code; or "network", "http_<status>", "bad_answer" (not what a server of this library answers:
   * is the path right?), "offline", "disconnected", "no_reply", "replaced", "closed", "no_url", "no_websocket".
   */
  code: string;
  /** Seconds to wait, where the server said. */
  retryAfter?: number;
}

export declare class Client {
  private constructor();

  readonly state: State;

  /**
   * Why: the server's code; of "signed-out" also "logged_out" (in this tab or another), "logged_out_here" where the
   * server could not be told, "elsewhere" where the storage was emptied and nobody said why, and "storage_full"; of "offline" also "closed", "no_url" and "no_websocket". There is none where nobody was signed in.
   */
  readonly reason: string | undefined;

  /** Whether other tabs, and this page when it is opened again, share the session. */
  readonly shared: boolean;

  /**
   * The newest session token, for `Authorization: Bearer`. Read it for each request. It is null
   * until a page that was just opened has found out that its session was not logged out, which
   * takes some milliseconds.
   */
  readonly token: string | null;

  /**
   * Resolves when the server has let the new session in. Rejects with a SocketAuthError when the server refuses the
   * credentials or the session, or has not let it in after 20 seconds; its code says why. "replaced" is one whose place a
   * later login has taken. What is no end of the session is tried again all the same: the state tells.
   */
  login(credentials: object): Promise<void>;
  register(credentials: object): Promise<void>;

  /**
   * Ends the session, for all its tabs. Resolves to whether the server has said that it is over.
   * Here it is over in any case, and stays so for a browser that is killed once this has resolved;
   * a server that could not be told is told later, by this page or the next that is opened.
   */
  logout(): Promise<boolean>;

  /** Gives a function that undoes it. */
  on(event: "state", f: (state: State, reason?: string) => void): () => void;
  on(event: "notice", f: (notice: Notice, about?: Refusal) => void): () => void;
  /** The last argument of an event whose sender waits for a reply is a function that replies. */
  on<E extends string>(event: E extends "state" | "notice" ? never : E, f: (...args: any[]) => void): () => void;
  off(event: string, f: (...args: any[]) => void): void;

  /** Whether there was a connection to send it on. A function as the last argument is called with the reply. */
  emit(event: string, ...args: unknown[]): boolean;

  /** The server's reply. Rejects with a SocketAuthError where that is `{error: {code}}`, or where none comes. */
  emitWithAck(event: string, ...args: unknown[]): Promise<any>;

  /** Leaves without logging out, and is of no more use: no more events come, and the state is "offline" where somebody was signed in. */
  close(): void;
}

export declare function connect(options?: Options): Client;
