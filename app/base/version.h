#ifndef BASE_VERSION_H
#define BASE_VERSION_H

/*
 * What this program calls itself: in `weir status`, and wherever a version is told to others.
 */
#define WEIR_VERSION "0.4.0"

#endif
