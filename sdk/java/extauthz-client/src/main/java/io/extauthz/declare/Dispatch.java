package io.extauthz.declare;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * Compares the endpoint that the application takes for a request with the template that the mesh takes.
 *
 * <p>INVARIANT: after {@link #settle()} no route is left that the mesh could take for a request that the
 * application dispatches to an endpoint with another declaration, or with none. What cannot be excluded counts
 * as possible: a route is rather left out, and its requests denied.
 */
final class Dispatch {

    /** Stands for every method that no route of the template names. */
    static final String ANY_METHOD = "*";

    private final List<Mapping> mappings;
    private final Precedence precedence;
    private final Map<Mapping, Set<String>> routes = new LinkedHashMap<>();

    /** An endpoint with its path, and the set of paths that the application may dispatch to it. */
    record Mapping(Endpoint endpoint, MappedPath path, PathShape reach) {

        boolean takes(String method) {
            Set<String> own = endpoint.httpMethods();
            return own.isEmpty() || own.contains(method);
        }

        /** Tells whether it matches every request with the method and one of the paths, its conditions aside. */
        boolean takesAll(String method, PathShape paths) {
            return path.total() && takes(method) && path.reach().covers(paths);
        }
    }

    /** A route that is left out because of a request that goes to another endpoint. */
    record Contest(Mapping route, String method, Mapping other) { }

    /** Takes every endpoint, and those that are to be registered. */
    Dispatch(List<Mapping> mappings, List<Mapping> registrable, Precedence precedence) {
        this.mappings = List.copyOf(mappings);
        this.precedence = precedence;
        for (Mapping each : registrable) {
            Set<String> methods = each.endpoint().httpMethods();
            routes.put(each, new TreeSet<>(methods.isEmpty() ? Set.of(ANY_METHOD) : methods));
        }
    }

    /** Leaves routes out until the invariant holds, and returns them. */
    List<Contest> settle() {
        var found = new ArrayList<Contest>();
        int before;
        // Without one route a wider template takes its requests, which may break the invariant for that one.
        do {
            before = found.size();
            for (Map.Entry<Mapping, Set<String>> route : routes.entrySet()) {
                for (String method : route.getValue()) {
                    Mapping other = contender(route.getKey(), method);
                    if (other != null) {
                        found.add(new Contest(route.getKey(), method, other));
                    }
                }
            }
            found.subList(before, found.size()).forEach(each -> routes.get(each.route()).remove(each.method()));
            routes.values().removeIf(Set::isEmpty);
        } while (found.size() > before);
        return found;
    }

    /** Leaves every route of one resource out. */
    void drop(String resource) {
        routes.keySet().removeIf(each -> each.endpoint().declared().name().equals(resource));
    }

    /** Returns the routes that are left, with their methods. */
    Map<Mapping, Set<String>> routes() {
        return routes;
    }

    /** Returns an endpoint that gets a request that the mesh judges by the route; null where there is none. */
    private Mapping contender(Mapping route, String method) {
        for (Mapping other : mappings) {
            if (other == route || route.endpoint().declared().judgedAs(other.endpoint().declared())) {
                continue;
            }
            PathShape both = route.path().reach().meet(other.reach());
            if (both == null) {
                continue;
            }
            for (String asked : asked(method, other)) {
                if (!isJudgedElsewhere(route, method, asked, both) && !isTakenBefore(other, asked, both)) {
                    return other;
                }
            }
        }
        return null;
    }

    /** Returns the methods that both take. */
    private static Set<String> asked(String method, Mapping other) {
        if (!method.equals(ANY_METHOD)) {
            return other.takes(method) ? Set.of(method) : Set.of();
        }
        Set<String> own = other.endpoint().httpMethods();
        return own.isEmpty() ? Set.of(ANY_METHOD) : own;
    }

    /** Tells whether another template, or another method of this one, goes before the route for all the paths. */
    private boolean isJudgedElsewhere(Mapping route, String method, String asked, PathShape paths) {
        PathShape own = route.path().reach();
        for (Map.Entry<Mapping, Set<String>> each : routes.entrySet()) {
            PathShape template = each.getKey().path().reach();
            if (!template.covers(paths)) {
                continue;
            }
            if (template.betterThan(own)) {
                return true;
            }
            boolean named = method.equals(ANY_METHOD) && !asked.equals(ANY_METHOD) && each.getValue().contains(asked);
            if (named && !own.betterThan(template)) {
                return true;
            }
        }
        return false;
    }

    /** Tells whether the application takes another endpoint for all the paths before this one. */
    private boolean isTakenBefore(Mapping other, String method, PathShape paths) {
        for (Mapping each : mappings) {
            if (each != other
                    && each.takesAll(method, paths)
                    && (!each.endpoint().conditional() || precedence.sameConditions(each.endpoint(), other.endpoint()))
                    && precedence.compare(each.endpoint(), other.endpoint()) < 0) {
                return true;
            }
        }
        return false;
    }
}
