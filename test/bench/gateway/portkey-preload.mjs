// Portkey 1.15 changes the headers of responses that it fetched; those of Node 20 can't be changed, and every answer would be a 500.
const { fetch } = globalThis;
const value = async (/** @type {[RequestInfo, RequestInit]} */ ...request) => {
  const response = await fetch(...request);
  return new Response(response.body, response);
};
Reflect.defineProperty(globalThis, 'fetch', { value });
