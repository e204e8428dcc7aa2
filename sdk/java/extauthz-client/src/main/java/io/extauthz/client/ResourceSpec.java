package io.extauthz.client;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * A resource, the unit of permission, with the routes that lead to it.
 *
 * @param id what the API gave it; null before it is registered, and never sent
 * @param name the name, such as {@code invoice:read}
 * @param serviceName the service that it belongs to
 * @param displayName a name for people; null for none
 * @param defaultRoles the roles that are allowed its default action the first time ever that its name is
 *     registered
 * @param routes the routes that lead to it
 * @param isPublic true allows it to everyone, false no longer does, null leaves it as it is
 * @param headers headers that the workload gets, each with an attribute {@code user.*}; null leaves them as
 *     they are
 * @param authorization what happens to the request's {@code Authorization}; null leaves it as it is
 * @param assertion whether the workload gets a signed assertion; null leaves it as it is
 * @param requireBound whether only tokens bound to the caller's key are taken; null leaves it as it is
 */
public record ResourceSpec(
        String id,
        String name,
        String serviceName,
        String displayName,
        List<String> defaultRoles,
        List<Route> routes,
        Boolean isPublic,
        Map<String, String> headers,
        Authorization authorization,
        Boolean assertion,
        Boolean requireBound) {

    /** Copies the lists and the map. */
    public ResourceSpec {
        Objects.requireNonNull(name, "name");
        Objects.requireNonNull(serviceName, "serviceName");
        defaultRoles = List.copyOf(defaultRoles);
        routes = List.copyOf(routes);
        headers = headers == null ? null : Documents.copy(headers);
    }

    /**
     * Starts a resource without routes and roles.
     *
     * @param name the name, such as {@code invoice:read}
     * @param serviceName the service that it belongs to
     * @return a builder
     */
    public static Builder builder(String name, String serviceName) {
        return new Builder(name, serviceName);
    }

    Map<String, Object> document() {
        var members = new LinkedHashMap<String, Object>();
        members.put("name", name);
        members.put("serviceName", serviceName);
        Documents.put(members, "displayName", displayName);
        members.put("defaultRoles", defaultRoles);
        members.put("routes", Documents.all(routes, Route::document));
        Documents.put(members, "public", isPublic);
        Documents.put(members, "headers", headers);
        Documents.put(members, "authorization", Words.of(authorization));
        Documents.put(members, "assertion", assertion);
        Documents.put(members, "require_bound", requireBound);
        return members;
    }

    static ResourceSpec read(Object document) {
        var members = new Members(document);
        return new ResourceSpec(
                members.text("id"),
                members.text("name"),
                members.text("serviceName"),
                members.optionalText("displayName"),
                members.texts("defaultRoles"),
                Documents.all(members.entries("routes"), Route::read),
                members.has("public") && members.flag("public") ? Boolean.TRUE : null,
                members.optionalTexts("headers"),
                members.has("authorization") ? members.choice("authorization", Authorization.class) : null,
                members.optionalFlag("assertion"),
                members.optionalFlag("require_bound"));
    }

    /** Collects the members of a resource. Not for several threads at once. */
    public static final class Builder {

        private final String name;
        private final String serviceName;
        private String displayName;
        private List<String> defaultRoles = List.of();
        private final List<Route> routes = new ArrayList<>();
        private Boolean isPublic;
        private Map<String, String> headers;
        private Authorization authorization;
        private Boolean assertion;
        private Boolean requireBound;

        private Builder(String name, String serviceName) {
            this.name = Objects.requireNonNull(name, "name");
            this.serviceName = Objects.requireNonNull(serviceName, "serviceName");
        }

        /**
         * Sets the name for people.
         *
         * @param displayName the name; null for none
         * @return this builder
         */
        public Builder displayName(String displayName) {
            this.displayName = displayName;
            return this;
        }

        /**
         * Sets the roles that are allowed the default action at the first registration.
         *
         * @param defaultRoles the roles
         * @return this builder
         */
        public Builder defaultRoles(Collection<String> defaultRoles) {
            this.defaultRoles = List.copyOf(defaultRoles);
            return this;
        }

        /**
         * Sets the roles that are allowed the default action at the first registration.
         *
         * @param defaultRoles the roles
         * @return this builder
         */
        public Builder defaultRoles(String... defaultRoles) {
            return defaultRoles(List.of(defaultRoles));
        }

        /**
         * Adds a route.
         *
         * @param route the route
         * @return this builder
         */
        public Builder route(Route route) {
            routes.add(Objects.requireNonNull(route, "route"));
            return this;
        }

        /**
         * Adds a route of one method, every host and the API's defaults.
         *
         * @param method the HTTP method, such as {@code GET}
         * @param path the path template
         * @return this builder
         */
        public Builder route(String method, String path) {
            return route(new Route(List.of(method), path));
        }

        /**
         * Says whether everyone is allowed.
         *
         * @param isPublic true for everyone, false no longer, null leaves it as it is
         * @return this builder
         */
        public Builder isPublic(Boolean isPublic) {
            this.isPublic = isPublic;
            return this;
        }

        /**
         * Sets the headers that the workload gets.
         *
         * @param headers each header with an attribute {@code user.*}; null leaves them as they are
         * @return this builder
         */
        public Builder headers(Map<String, String> headers) {
            this.headers = headers;
            return this;
        }

        /**
         * Says what happens to the request's {@code Authorization}.
         *
         * @param authorization what happens; null leaves it as it is
         * @return this builder
         */
        public Builder authorization(Authorization authorization) {
            this.authorization = authorization;
            return this;
        }

        /**
         * Says whether the workload gets a signed assertion.
         *
         * @param assertion whether; null leaves it as it is
         * @return this builder
         */
        public Builder assertion(Boolean assertion) {
            this.assertion = assertion;
            return this;
        }

        /**
         * Says whether only tokens bound to the caller's key are taken.
         *
         * @param requireBound whether; null leaves it as it is
         * @return this builder
         */
        public Builder requireBound(Boolean requireBound) {
            this.requireBound = requireBound;
            return this;
        }

        /**
         * Makes the resource.
         *
         * @return the resource
         */
        public ResourceSpec build() {
            return new ResourceSpec(
                    null,
                    name,
                    serviceName,
                    displayName,
                    defaultRoles,
                    routes,
                    isPublic,
                    headers,
                    authorization,
                    assertion,
                    requireBound);
        }
    }
}
