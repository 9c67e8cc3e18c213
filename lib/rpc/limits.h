// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once
/* Every number that bounds a peer of this library, each with its reason. Protocol limits of the
 * Console itself stand in console/limits.h. */

/* One message: the largest honest one is a desired set (512 KiB) with room for growth. */
#define TLX_MESSAGE_MAX (1u << 20)
/* One message of a caller without a certificate: a token, a CSR and host facts need 4 KiB. */
#define TLX_MESSAGE_MAX_ANONYMOUS (64u << 10)
/* What one message may take unpacked: empty sub-messages unpack to 52 times their size. */
#define TLX_ARENA_MAX (8u << 20)
/* Elements (fields, repeated items) in one message, counted before unpacking. */
#define TLX_MESSAGE_ELEMENTS_MAX 65536u
/* Nesting of sub-messages; ours need 4. */
#define TLX_MESSAGE_DEPTH_MAX 16u
/* Streams a connection: an operator's scripts run tens of calls at once. */
#define TLX_STREAMS_MAX 100u
/* Header list of one request (RFC 9113 §10.5.1 counting); gRPC clients send under 1 KiB. */
#define TLX_HEADER_LIST_MAX (16u << 10)
/* All trailers together; gRPC clients accept 8 KiB by default. */
#define TLX_TRAILERS_MAX (8u << 10)
/* Receive windows: one message of the largest size without a stall, a few streams beside it. */
#define TLX_STREAM_WINDOW (1u << 20)
#define TLX_CONN_WINDOW (4u << 20)
/* Unsent bytes of one connection above which it is no longer read, and below which it is again. */
#define TLX_UNSENT_HIGH (1u << 20)
#define TLX_UNSENT_LOW (256u << 10)
/* Unsent bytes of one server stream: a slower reader ends with RESOURCE_EXHAUSTED. */
#define TLX_STREAM_QUEUE_MAX (1u << 20)
/* Unsent bytes of all streams of a connection: above, its further calls are refused. */
#define TLX_CONN_QUEUE_MAX (8u << 20)
/* TCP accept to finished TLS handshake. */
#define TLX_HANDSHAKE_TIMEOUT_MS 10000u
/* Headers to complete request, for calls without a deadline: "slow post" needs a bound. */
#define TLX_REQUEST_TIMEOUT_MS 30000u
/* Connection without a call. Sensors keep a wake stream open, operators reconnect. */
#define TLX_IDLE_TIMEOUT_MS 300000u
/* Keep-alive of our server towards a silent peer, and the wait for the answer. */
#define TLX_KEEPALIVE_MS 60000u
#define TLX_KEEPALIVE_TIMEOUT_MS 20000u
/* Fastest permitted client pings; the Sensor's interval is 20 s. Faster: strike; third: GOAWAY. */
#define TLX_PING_INTERVAL_MIN_MS 10000u
#define TLX_PING_STRIKES_MAX 2u
/* Glitches (resets, settings, empty frames, tiny DATA, strikes) a connection may collect; one is
 * forgiven for each completed call and each second. */
#define TLX_GLITCH_BUDGET 200u
/* Connections in all, and those that have not finished TLS; the file limit is raised to match. */
#define TLX_CONNS_MAX 16384u
#define TLX_HANDSHAKES_MAX 512u
/* Connections without a client certificate: enrollments and health checks are short, and strangers
 * must not take the places of sensors and operators. */
#define TLX_ANONYMOUS_CONNS_MAX 512u
/* New handshakes a second from addresses no sensor has used (settable). */
#define TLX_STRANGER_HANDSHAKES_PER_S 100u
/* GOAWAY drain: how long running calls may take before they are ended with UNAVAILABLE. */
#define TLX_DRAIN_GRACE_MS 5000u
