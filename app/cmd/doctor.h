#ifndef CMD_DOCTOR_H
#define CMD_DOCTOR_H

#include "cmd/front_config.h"

struct config;
struct fault_list;

/*
 * What will bite: each finding is one line with its place, why it matters, and the exact line to add.
 */

/* What in the front server's configuration passes requests to weir; returns how many places do. */
size_t doctor_nginx(
    const struct config *c, const struct front_config *front, struct fault_list *findings);
size_t doctor_apache(
    const struct config *c, const struct front_config *front, struct fault_list *findings);

/* The machine, and the servers that are configured; each is asked within a few seconds. */
void doctor_machine(const struct config *c, struct fault_list *findings);
void doctor_servers(const struct config *c, struct fault_list *findings);

#endif
