// Package doctest has tests of the documents: what they quote is compiled code, what they name
// exists, and their links lead somewhere.
package doctest
