#ifndef RUNTIME_NOTIFY_H
#define RUNTIME_NOTIFY_H

#include <stdint.h>

/*
 * What systemd is told (sd_notify(3)), when it asked by NOTIFY_SOCKET; else nothing happens.  One datagram each, never
 * waited for.
 */
void notify_ready(const char *status);
void notify_reloading(void); /* ended by notify_ready() */
void notify_stopping(void);
void notify_alive(void); /* the watchdog */

/* How often notify_alive() is wanted: half of WATCHDOG_USEC, when that is for this process; INT64_MAX: never. */
int64_t notify_alive_every_ms(void);

#endif
