package io.extauthz.spring;

import io.extauthz.declare.Endpoint;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import org.springframework.core.io.Resource;
import org.springframework.http.HttpMethod;
import org.springframework.web.servlet.function.HandlerFunction;
import org.springframework.web.servlet.function.RequestPredicate;
import org.springframework.web.servlet.function.RequestPredicates;
import org.springframework.web.servlet.function.RouterFunction;
import org.springframework.web.servlet.function.RouterFunctions;
import org.springframework.web.servlet.function.ServerRequest;

/**
 * The functional routes of the application. They cannot declare anything; they are looked at so that no wider
 * route of a controller opens them. A predicate that is not understood stands for every path.
 */
final class FunctionalEndpoints implements RouterFunctions.Visitor {

    private final List<Endpoint> endpoints = new ArrayList<>();
    private final Deque<String> prefixes = new ArrayDeque<>(List.of(""));

    private FunctionalEndpoints() { }

    static List<Endpoint> of(RouterFunction<?> function) {
        var visitor = new FunctionalEndpoints();
        function.accept(visitor);
        return visitor.endpoints;
    }

    @Override
    public void startNested(RequestPredicate predicate) {
        prefixes.push(prefixes.element() + path(predicate).orElse(""));
    }

    @Override
    public void endNested(RequestPredicate predicate) {
        prefixes.pop();
    }

    @Override
    public void route(RequestPredicate predicate, HandlerFunction<?> handler) {
        add(handler, path(predicate).orElse("/**"));
    }

    @Override
    public void resources(Function<ServerRequest, Optional<Resource>> lookup) {
        // Files, as the static resources of Spring MVC.
    }

    @Override
    public void attributes(Map<String, Object> attributes) {
        // They do not select requests.
    }

    @Override
    public void unknown(RouterFunction<?> function) {
        add(function, "/**");
    }

    private void add(Object handler, String path) {
        endpoints.add(new Endpoint(handler.getClass().getName(), "handle", Set.of(), prefixes.element() + path, null));
    }

    /** Returns the path that a predicate surely asks for; empty where there is none. */
    private static Optional<String> path(RequestPredicate predicate) {
        var reading = new PathOf();
        predicate.accept(reading);
        return Optional.ofNullable(reading.path);
    }

    /** Finds a path that is part of a conjunction; one in a disjunction or a negation is not sure. */
    private static final class PathOf implements RequestPredicates.Visitor {

        private String path;
        private int unsure;

        @Override
        public void path(String pattern) {
            if (unsure == 0) {
                path = (path == null ? "" : path) + (pattern.startsWith("/") ? pattern : "/" + pattern);
            }
        }

        @Override
        public void startOr() {
            unsure++;
        }

        @Override
        public void endOr() {
            unsure--;
        }

        @Override
        public void startNegate() {
            unsure++;
        }

        @Override
        public void endNegate() {
            unsure--;
        }

        @Override
        public void method(Set<HttpMethod> methods) {
            // Each method counts: the route declares nothing.
        }

        @Override
        @Deprecated
        @SuppressWarnings("removal")
        public void pathExtension(String extension) {
            // A further condition makes it narrower, never wider.
        }

        @Override
        public void header(String name, String value) {
            // As above.
        }

        @Override
        public void param(String name, String value) {
            // As above.
        }

        @Override
        public void version(String version) {
            // As above.
        }

        @Override
        public void startAnd() {
            // A path in a conjunction is sure.
        }

        @Override
        public void and() {
            // As above.
        }

        @Override
        public void endAnd() {
            // As above.
        }

        @Override
        public void or() {
            // startOr has counted it.
        }

        @Override
        public void unknown(RequestPredicate predicate) {
            // A further condition makes it narrower, never wider.
        }
    }
}
