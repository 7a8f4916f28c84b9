// What a page knows of its logouts, for tests that drive one.

// isTold reports whether the server knows of all logouts. Until then the tokens are kept.
export const isTold = () => new Promise((resolve) => {
  const open = indexedDB.open('socketauth', 1)
  open.onsuccess = () => {
    const request = open.result.transaction('tokens').objectStore('tokens').get('socketauth.token.ended')
    request.onsuccess = () => {
      open.result.close()
      resolve(request.result.length > 0 && request.result.every((end) => !end.token))
    }
  }
})
