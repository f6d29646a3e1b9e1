#ifndef BASE_ENGINES_H
#define BASE_ENGINES_H

/*
 * The engines beside the embedded ones that this weir is built with.
 *
 * All of them, unless the Makefile says -DENGINE_X=0: what nobody calls is not linked, so the engine's library is
 * not needed then.  A setting that asks for an engine that is not there is a fault that says so (runtime/config.c), and
 * `weir --version` lists them.
 */
#ifndef ENGINE_POSTGRESQL
#define ENGINE_POSTGRESQL 1 /* client/pg.c: libpq */
#endif
#ifndef ENGINE_KAFKA
#define ENGINE_KAFKA 1 /* client/kafka.c: librdkafka */
#endif
#ifndef ENGINE_OTLP
#define ENGINE_OTLP 1 /* client/http_post.c: libcurl */
#endif

#endif
