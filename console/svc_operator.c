// SPDX-License-Identifier: GPL-2.0-or-later
#include "console/convert.h"
#include "console/svc.h"
#include "telovix/v1/operator.pb-c.h"

/* The caller's own identity (OperatorService). */

void svc_whoami(struct tlx_call *call, const ProtobufCMessage *message) {
  struct console *console = console_of(call);
  const struct tlx_cert *cert = tlx_call_peer_cert(call);
  Telovix__V1__WhoAmIReply reply = TELOVIX__V1__WHO_AM_IREPLY__INIT;
  reply.name = caller_of(call)->name;
  reply.role = (Telovix__V1__Role)caller_of(call)->role;
  reply.fleet_id = console->fleet_id;
  reply.fleet_name = console->fleet_name;
  reply.certificate_expires_at =
      convert_time(cert ? cert->not_after_wall_ms : 0, tlx_call_arena(call));
  static char version[] = TLX_VERSION;
  reply.console_version = version;
  svc_reply(call, &reply.base);
}
