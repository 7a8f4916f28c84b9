// Made from errors.js by interop/types.mjs.

/**
 * Throws what a page sees where a module cannot be loaded.
 */
export function failLoading(): never;
/**
 * Returns what f returns, or undefined where f throws.
 */
export function attempt<T>(f: () => T): T | undefined;
/**
 * Says why something was not done. Its code is the server's or one of the client's own; the message
 * is the code where there is no text for it.
 */
export class SocketAuthError extends Error {
    constructor(code: ErrorCode, retryAfter?: number, details?: {
        [name: string]: any;
    });
    code: ErrorCode;
    /** Seconds to wait, if the server said. */
    retryAfter: number | undefined;
    /**
     * The server's answer, with what it says besides the code: maxAge and acr where the code is
     * "reauthentication_required". Of "signed_out" from ready, the reason.
     */
    details: {
        [name: string]: any;
    } | undefined;
}
import type { ErrorCode } from './types.js';
