// Everything that this page reads from the API or asks it, by operation id. `picked` in api.js lets nothing else through,
// and a test holds this against the OpenAPI document. What follows the `=` is JSON. A `?` marks what may be left out.
export const SHAPES = {
  "ready": {"answer": {"status": 1}, "query": []},
  "list_models": {
    "query": [],
    "answer": {
      "engine": 1, "providers": 1, "ready": 1, "tiers_ms": 1, "max_budget_ms": 1,
      "models": [{
        "name": 1, "variant_of": 1, "task": 1, "segment_kind": 1, "family": 1, "precision": 1, "labels": 1,
        "params": 1, "flops": 1, "onnx_bytes": 1, "predicted_ms": 1,
        "input": {"height": 1, "width": 1},
        "accuracy": {"value": 1, "metric": 1, "dataset": 1, "source": 1},
        "weights": {"source": 1, "licence": 1},
        "profile": {"device": 1}
      }]
    }
  },
  "route": {
    "query": ["task", "kind", "tier", "latency_budget_ms", "model", "min_accuracy", "on_infeasible"],
    "answer": {
      "image": {"width": 1, "height": 1}, "model": 1, "refused": 1,
      "routing": {"tier": 1, "budget_ms": 1, "predicted_ms": 1, "reason": 1, "degraded": 1},
      "candidates": [{"model": 1, "accuracy": 1, "predicted_ms": 1, "typical_ms": 1, "chosen": 1, "why_not": 1}]
    }
  },
  "classify": {
    "query": ["tier", "latency_budget_ms", "model", "min_accuracy", "on_infeasible", "late", "strategy"],
    "answer": {
      "id": 1, "warnings": 1, "timing_ms": 1,
      "model": {"name": 1, "precision": 1, "backend": 1, "accuracy": 1, "accuracy_metric": 1, "weights": 1},
      "image": {"width": 1, "height": 1},
      "routing": {"tier": 1, "budget_ms": 1, "predicted_ms": 1, "quantile": 1, "reason": 1, "degraded": 1, "hedged": 1, "cascade": 1, "failed": 1},
      "predictions": [{"label": 1, "class_id": 1, "score": 1}]
    }
  },
  "detect": {
    "query": ["tier", "latency_budget_ms", "model", "min_accuracy", "on_infeasible", "late", "score_threshold"],
    "answer": {
      "id": 1, "warnings": 1, "timing_ms": 1,
      "model": {"name": 1, "precision": 1, "backend": 1, "accuracy": 1, "accuracy_metric": 1, "weights": 1},
      "image": {"width": 1, "height": 1},
      "routing": {"tier": 1, "budget_ms": 1, "predicted_ms": 1, "quantile": 1, "reason": 1, "degraded": 1, "hedged": 1, "cascade": 1, "failed": 1},
      "predictions": [{"label": 1, "class_id": 1, "score": 1, "box": {"xmin": 1, "ymin": 1, "xmax": 1, "ymax": 1}}]
    }
  },
  "segment": {
    "query": ["tier", "latency_budget_ms", "model", "min_accuracy", "on_infeasible", "late", "score_threshold", "kind"],
    "answer": {
      "id": 1, "kind": 1, "warnings": 1, "timing_ms": 1,
      "model": {"name": 1, "precision": 1, "backend": 1, "accuracy": 1, "accuracy_metric": 1, "weights": 1},
      "image": {"width": 1, "height": 1},
      "routing": {"tier": 1, "budget_ms": 1, "predicted_ms": 1, "quantile": 1, "reason": 1, "degraded": 1, "hedged": 1, "cascade": 1, "failed": 1},
      "predictions": [{
        "label": 1, "class_id": 1, "score": 1, "area_px": 1, "rle": {"size": 1, "counts": 1},
        "box": {"xmin": 1, "ymin": 1, "xmax": 1, "ymax": 1}
      }]
    }
  },
  "activity": {
    "query": [],
    "answer": {
      "window_s": 1, "in_flight": 1, "max_in_flight": 1, "queue_depth": 1, "rate_per_s": 1, "p50_ms": 1, "p95_ms": 1,
      "prediction_coverage": 1, "outcomes": 1,
      "models": [{"task": 1, "model": 1, "answers": 1, "pictures": 1, "rate_per_s": 1, "share": 1, "p50_ms": 1, "p95_ms": 1, "reasons": 1}],
      "seconds": [{"ended": 1, "answers": 1, "p50_ms": 1, "p95_ms": 1}]
    }
  },
  "problem": {"query": [], "answer": {"type": 1, "title": 1, "status": 1, "detail": 1, "instance": 1, "field?": 1, "limit?": 1, "retry_after_s?": 1}}
};
