"use client";
export { Chat } from "./Chat.jsx";
