"""Registers what the URL patterns of a Django project declare.

    @resource("invoice:read", default_roles=["finance"])
    def read_invoice(request, number): ...

In `wsgi.py` or `asgi.py`, after `get_wsgi_application()`:

    protect(client, service_name="billing")

Registering runs in a daemon thread: when it fails it warns and tries again, and the application serves on.
"""

import inspect
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from extauthz_client.api import SyncExtauthzClient
from extauthz_client.declarations import ANY_METHOD, AppRoute, DeclaredResources, collected, declaration_on
from extauthz_client.django_patterns import Unexpressed, segments_of_regex, segments_of_route
from extauthz_client.paths import AppPath, Parameter
from extauthz_client.registration import BackgroundRegistration

if TYPE_CHECKING:
    from django.urls import URLPattern, URLResolver

_EVERY: Final = frozenset({ANY_METHOD})
Segments = Sequence[str | Parameter | None]


def protect(
    client: SyncExtauthzClient,
    *,
    service_name: str,
    urlconf: str | None = None,
    host: str | None = None,
    prefix: str = "",
) -> BackgroundRegistration:
    """Register what the URL patterns declare, in the background.

    `urlconf` None is ROOT_URLCONF. The client is open until the registration is stopped, so views can use
    it, too. `host` binds the routes to a host; `prefix` is what the mesh sees before the project's paths.
    """
    return BackgroundRegistration(
        client,
        partial(declared_resources, service_name, urlconf=urlconf, host=host, prefix=prefix),
    )


def declared_resources(
    service_name: str, *, urlconf: str | None = None, host: str | None = None, prefix: str = ""
) -> DeclaredResources:
    """Return the resources that the URL patterns declare; those of included URLconfs in their places.

    What the mesh cannot express, or would not judge as Django dispatches, is warned of and left out.
    """
    from django.urls import get_resolver

    before: Segments = [each for each in prefix.strip("/").split("/") if each]
    shown = prefix.rstrip("/") + "/"
    patterns = get_resolver(urlconf).url_patterns
    return collected(list(_walk(patterns, [*before, ""], shown, host, None)), service_name)


def _walk(
    patterns: "Sequence[URLPattern | URLResolver]",
    before: Segments,
    shown: str,
    host: str | None,
    problem: str | None,
) -> Iterator[AppRoute]:
    from django.urls import URLResolver

    for pattern in patterns:
        is_end = not isinstance(pattern, URLResolver)
        unexpressed = problem
        try:
            segments = _appended(before, _segments(pattern.pattern, is_end=is_end))
        except Unexpressed as error:
            segments, unexpressed = before, problem or str(error)
        path = shown + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, segments, path, host, unexpressed)
        else:
            yield _route(pattern.callback, AppPath.of(segments), path, host, unexpressed)


def _segments(pattern: Any, *, is_end: bool) -> Segments:
    from django.urls.resolvers import RegexPattern, RoutePattern

    if isinstance(pattern, RoutePattern):
        return segments_of_route(str(pattern), pattern.converters)
    if isinstance(pattern, RegexPattern):
        return segments_of_regex(str(pattern), is_end=is_end)
    raise Unexpressed("its prefix depends on the language: declare the paths without i18n_patterns")


def _appended(before: Segments, after: Segments) -> Segments:
    """Return both, joined in the segment in which they meet."""
    *start, last = before
    first, *rest = after
    if last == "":
        return [*start, first, *rest]
    if first == "":
        return [*before, *rest]
    joined = last + first if isinstance(last, str) and isinstance(first, str) else None
    return [*start, joined, *rest]


def _route(
    callback: Any, template: AppPath | str, path: str, host: str | None, problem: str | None
) -> AppRoute:
    own = getattr(callback, "view_class", None) or getattr(callback, "cls", None)
    # Django takes the first pattern whatever the method is.
    if not inspect.isclass(own):
        return AppRoute(path, template, host, _EVERY, callback, problem=problem, takes=_EVERY)
    # Django REST framework's view sets: the name of the method that handles each method of HTTP.
    named = getattr(callback, "actions", None) or {
        each: each for each in getattr(own, "http_method_names", ()) if hasattr(own, each)
    }
    handlers = {each.upper(): getattr(own, name, None) for each, name in named.items()}
    if "HEAD" in handlers:
        handlers.setdefault("GET", handlers.pop("HEAD"))
    if "options" not in vars(own) and "OPTIONS" in handlers:
        # Django's own answer to OPTIONS, which no view gives.
        del handlers["OPTIONS"]
    methods = frozenset(handlers) or _EVERY
    endpoint = callback if declaration_on(callback) is not None else own
    return AppRoute(path, template, host, methods, endpoint, problem=problem, handlers=handlers, takes=_EVERY)
