/** A generated service definition in the form that gRPC libraries take: paths, and how messages become bytes. */

interface Codec<T> { encode(message: T): { finish(): Uint8Array }; decode(bytes: Uint8Array): T }

interface Method<Request, Response> {
  name: string;
  requestType: Codec<Request>;
  requestStream: boolean;
  responseType: Codec<Response>;
  responseStream: boolean;
}

/** As grpc-js names it. */
export interface MethodDefinition<Request, Response> {
  path: string;
  requestStream: boolean;
  responseStream: boolean;
  requestSerialize(message: Request): Buffer;
  requestDeserialize(bytes: Buffer): Request;
  responseSerialize(message: Response): Buffer;
  responseDeserialize(bytes: Buffer): Response;
}

type DefinitionOf<M> = M extends { requestType: Codec<infer Request>; responseType: Codec<infer Response> } ? MethodDefinition<Request, Response> : never;

/** Every method of a generated definition, by its name in lower camel case. */
export function grpcService<Methods extends Record<string, object>>({ fullName, methods }: { fullName: string; methods: Methods }): { readonly [Name in keyof Methods]: DefinitionOf<Methods[Name]> } {
  const entries = Object.entries(methods).map(([name, method]) => [name, grpcMethod(fullName, method as Method<unknown, unknown>)]);
  return Object.fromEntries(entries) as { readonly [Name in keyof Methods]: DefinitionOf<Methods[Name]> };
}

function grpcMethod<Request, Response>(service: string, method: Method<Request, Response>): MethodDefinition<Request, Response> {
  const { name, requestType, requestStream, responseType, responseStream } = method;
  return {
    path: `/${service}/${name}`, requestStream, responseStream,
    requestSerialize: message => bytesOf(requestType, message),
    requestDeserialize: bytes => requestType.decode(bytes),
    responseSerialize: message => bytesOf(responseType, message),
    responseDeserialize: bytes => responseType.decode(bytes),
  };
}

/** Without a copy. */
function bytesOf<T>(codec: Codec<T>, message: T): Buffer {
  const { buffer, byteOffset, byteLength } = codec.encode(message).finish();
  return Buffer.from(buffer, byteOffset, byteLength);
}
