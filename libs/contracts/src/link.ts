/** What both ends of a gateway-executor link agree on beside the messages. */

/** Frames go at least this often both ways. */
export const HEARTBEAT_MS = 1000;
/** A peer that has not sent a frame for this long is gone: with one heartbeat's slack, found within 5 s. */
export const SILENCE_MS_MAX = 4000;
/** The longest prompt that is served and a step of scored prompts stay far below; gRPC's own limit of 4 MiB does not. */
export const MESSAGE_BYTES_MAX = 64 * 2 ** 20;

/** Metadata: who is calling, and the proof that it may. */
export const GATEWAY_METADATA = 'weft-gateway';
export const TOKEN_METADATA = 'authorization';

/** Options of channels and servers. A proxy in the environment is not for internal addresses. */
export const LINK_OPTIONS = {
  'grpc.enable_http_proxy': 0,
  'grpc.enable_retries': 0,          // a retry would submit requests twice, and its buffer holds what was sent
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
} as const;

/** Also of clients: a peer whose machine is gone closes no connection, and whatever is opened next would go to it as well. */
export const KEEPALIVE_OPTIONS = { 'grpc.keepalive_time_ms': 5000, 'grpc.keepalive_timeout_ms': 5000 } as const;
