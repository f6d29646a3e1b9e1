"""The messages of OTLP that weir sends, for Google's own decoder: field numbers as opentelemetry-proto 1.x has them.

Written down here once more, and not taken from weir's encoder, so that the two check each other.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPE = descriptor_pb2.FieldDescriptorProto

# message: {field: (number, type)}; "*" before a type is repeated, a name of a message is one, "|" is a oneof's member
MESSAGES = {
    "AnyValue": {"string_value": (1, "|string"), "bool_value": (2, "|bool"), "int_value": (3, "|int64"), "double_value": (4, "|double")},
    "KeyValue": {"key": (1, "string"), "value": (2, "AnyValue")},
    "Resource": {"attributes": (1, "*KeyValue"), "dropped_attributes_count": (2, "uint32")},
    "Scope": {"name": (1, "string"), "version": (2, "string"), "attributes": (3, "*KeyValue")},
    "Event": {"time": (1, "fixed64"), "name": (2, "string"), "attributes": (3, "*KeyValue"), "dropped_attributes_count": (4, "uint32")},
    "Link": {
        "trace_id": (1, "bytes"), "span_id": (2, "bytes"), "trace_state": (3, "string"),
        "attributes": (4, "*KeyValue"), "dropped_attributes_count": (5, "uint32"), "flags": (6, "fixed32"),
    },
    "Status": {"message": (2, "string"), "code": (3, "int32")},
    "Span": {
        "trace_id": (1, "bytes"), "span_id": (2, "bytes"), "trace_state": (3, "string"), "parent_span_id": (4, "bytes"),
        "name": (5, "string"), "kind": (6, "int32"), "start": (7, "fixed64"), "end": (8, "fixed64"),
        "attributes": (9, "*KeyValue"), "dropped_attributes_count": (10, "uint32"), "events": (11, "*Event"),
        "dropped_events_count": (12, "uint32"), "links": (13, "*Link"), "dropped_links_count": (14, "uint32"),
        "status": (15, "Status"), "flags": (16, "fixed32"),
    },
    "ScopeSpans": {"scope": (1, "Scope"), "spans": (2, "*Span"), "schema_url": (3, "string")},
    "ResourceSpans": {"resource": (1, "Resource"), "scope_spans": (2, "*ScopeSpans"), "schema_url": (3, "string")},
    "TraceRequest": {"resource_spans": (1, "*ResourceSpans")},
    "Point": {"attributes": (7, "*KeyValue"), "start": (2, "fixed64"), "time": (3, "fixed64"), "as_double": (4, "double"), "as_int": (6, "sfixed64")},
    "Gauge": {"points": (1, "*Point")},
    "Sum": {"points": (1, "*Point"), "temporality": (2, "int32"), "monotonic": (3, "bool")},
    "HistogramPoint": {
        "attributes": (9, "*KeyValue"), "start": (2, "fixed64"), "time": (3, "fixed64"), "count": (4, "fixed64"), "sum": (5, "double"),
        "counts": (6, "*fixed64"), "bounds": (7, "*double"),
    },
    "Histogram": {"points": (1, "*HistogramPoint"), "temporality": (2, "int32")},
    "Metric": {
        "name": (1, "string"), "description": (2, "string"), "unit": (3, "string"), "gauge": (5, "Gauge"), "sum": (7, "Sum"),
        "histogram": (9, "Histogram"),
    },
    "ScopeMetrics": {"scope": (1, "Scope"), "metrics": (2, "*Metric"), "schema_url": (3, "string")},
    "ResourceMetrics": {"resource": (1, "Resource"), "scope_metrics": (2, "*ScopeMetrics"), "schema_url": (3, "string")},
    "MetricsRequest": {"resource_metrics": (1, "*ResourceMetrics")},
    "Partial": {"rejected": (1, "int64"), "message": (2, "string")},
    "Response": {"partial_success": (1, "Partial")},
}


def field_of(message, name, number, kind):
    field = message.field.add(name=name, number=number, label=TYPE.LABEL_REPEATED if kind[0] == "*" else TYPE.LABEL_OPTIONAL)
    if kind[0] == "|":
        if not message.oneof_decl:
            message.oneof_decl.add(name="value")
        field.oneof_index = 0
    kind = kind.lstrip("*|")
    if kind in MESSAGES:
        field.type = TYPE.TYPE_MESSAGE
        field.type_name = f".otlp.{kind}"
    else:
        field.type = getattr(TYPE, f"TYPE_{kind.upper()}")


def make_classes():
    file = descriptor_pb2.FileDescriptorProto(name="otlp.proto", package="otlp", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            field_of(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName(f"otlp.{name}")) for name in MESSAGES}


CLASSES = make_classes()


def unknown_fields(message):
    """How many fields nobody here knows, in all of a message: none is to be there."""
    count = len(message.UnknownFields())
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            count += sum(unknown_fields(v) for v in (value if field.label == field.LABEL_REPEATED else [value]))
    return count


def attributes(pairs):
    return {p.key: getattr(p.value, p.value.WhichOneof("value")) for p in pairs}


def span(s):
    return {
        "trace_id": s.trace_id.hex(),
        "span_id": s.span_id.hex(),
        "parent": s.parent_span_id.hex(),
        "state": s.trace_state,
        "name": s.name,
        "kind": s.kind,
        "start": s.start,
        "end": s.end,
        "attributes": attributes(s.attributes),
        "events": [{"name": e.name, "time": e.time, "attributes": attributes(e.attributes)} for e in s.events],
        "links": [{"trace_id": k.trace_id.hex(), "span_id": k.span_id.hex(), "flags": k.flags} for k in s.links],
        "status": s.status.code,
        "flags": s.flags,
        "dropped": [s.dropped_attributes_count, s.dropped_events_count, s.dropped_links_count],
    }


def traces(body):
    """What an export request says, as plain lists and dictionaries."""
    request = CLASSES["TraceRequest"].FromString(body)
    return {
        "unknown": unknown_fields(request),
        "resources": [attributes(r.resource.attributes) for r in request.resource_spans],
        "scopes": [s.scope.name for r in request.resource_spans for s in r.scope_spans],
        "spans": [span(s) for r in request.resource_spans for g in r.scope_spans for s in g.spans],
    }


def point(p, kind):
    said = {"attributes": attributes(p.attributes), "start": p.start, "time": p.time}
    if kind == "histogram":
        return {**said, "count": p.count, "sum": p.sum, "counts": list(p.counts), "bounds": list(p.bounds)}
    return {**said, "value": p.as_double if p.as_double else p.as_int}


def metrics(body):
    request = CLASSES["MetricsRequest"].FromString(body)
    found = {}
    for r in request.resource_metrics:
        for g in r.scope_metrics:
            for m in g.metrics:
                kind = next(k for k in ("sum", "histogram", "gauge") if m.HasField(k))
                data = getattr(m, kind)
                found[m.name] = {
                    "unit": m.unit,
                    "kind": kind,
                    "cumulative": kind != "gauge" and data.temporality == 2 and getattr(data, "monotonic", True),
                    "points": [point(p, kind) for p in data.points],
                }
    return {"unknown": unknown_fields(request), "resources": [attributes(r.resource.attributes) for r in request.resource_metrics], "metrics": found}


def response(rejected=0, message=""):
    made = CLASSES["Response"]()
    if rejected:
        made.partial_success.rejected = rejected
        made.partial_success.message = message
    return made.SerializeToString()
