package io.extauthz.declare;

import io.extauthz.client.Authentication;
import io.extauthz.client.ResourceSpec;
import io.extauthz.client.Route;
import io.extauthz.declare.Dispatch.Contest;
import io.extauthz.declare.Dispatch.Mapping;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;

/** Turns the endpoints of an application into resources with routes. */
public final class Declarations {

    private static final int MOST_ROUTES = 200;

    private final String serviceName;
    private final Options options;
    private final List<DeclarationProblem> problems = new ArrayList<>();

    private Declarations(String serviceName, Options options) {
        this.serviceName = serviceName;
        this.options = options;
    }

    /**
     * Returns the resources that endpoints declare.
     *
     * <p>A route is left out, with a problem, where the mesh cannot express its path, or would judge requests by
     * it that the application dispatches to an endpoint with another declaration or with none. Requests for it
     * are denied.
     *
     * @param endpoints every endpoint of the application, those that declare nothing, too
     * @param serviceName the name of the service
     * @param options how the mesh sees the application
     * @return the resources, and what is left out
     */
    public static Declared collect(Collection<Endpoint> endpoints, String serviceName, Options options) {
        if (serviceName.isBlank()) {
            throw new IllegalArgumentException("the service has no name: the resources belong to it");
        }
        return new Declarations(serviceName, options).collect(endpoints);
    }

    private Declared collect(Collection<Endpoint> endpoints) {
        var mappings = new ArrayList<Mapping>();
        var registrable = new ArrayList<Mapping>();
        for (Endpoint endpoint : endpoints) {
            MappedPath path = MappedPath.parse(options.prefix() + endpoint.path());
            Mapping mapping = new Mapping(endpoint, path, options.ignoreCase() ? path.reach().folded() : path.reach());
            mappings.add(mapping);
            if (endpoint.declared() == null) {
                continue;
            }
            String wrong = NameProblems.of(endpoint.declared());
            if (wrong != null) {
                leaveOut(endpoint, wrong);
            } else if (path.template() == null) {
                leaveOut(endpoint, "the mesh cannot express its path: " + path.problem());
            } else {
                registrable.add(mapping);
            }
        }
        Dispatch dispatch = new Dispatch(mappings, registrable, options.precedence());
        settle(dispatch);
        return declared(dispatch.routes());
    }

    private void settle(Dispatch dispatch) {
        contested(dispatch.settle());
        // A resource with more routes than the API takes would have it refuse the whole registration.
        Map<String, List<Mapping>> byResource = byResource(dispatch.routes());
        byResource.forEach((name, mappings) -> {
            int found = routes(mappings, dispatch.routes()).size();
            if (found > MOST_ROUTES) {
                dispatch.drop(name);
                leaveOut(mappings.get(0).endpoint(), "the resource has " + found + " routes, and at most "
                        + MOST_ROUTES + " are possible; declare several resources");
            }
        });
        contested(dispatch.settle());
    }

    private void contested(List<Contest> contests) {
        record Pair(Endpoint route, Endpoint other) { }
        var methods = new LinkedHashMap<Pair, Set<String>>();
        for (Contest each : contests) {
            methods.computeIfAbsent(
                    new Pair(each.route().endpoint(), each.other().endpoint()), pair -> new TreeSet<>())
                    .add(each.method());
        }
        methods.forEach((pair, each) -> contested(pair.route(), pair.other(), String.join(", ", each)));
    }

    private void contested(Endpoint endpoint, Endpoint other, String methods) {
        String declares = other.declared() == null
                ? "has no @Resource; declare one there"
                : "declares '" + other.declared().name() + "' (" + other.declared().effectiveAction()
                        + "); give both the same @Resource";
        leaveOut(endpoint, "the mesh would judge " + (methods.equals(Dispatch.ANY_METHOD) ? "" : methods + " ")
                + "requests by it that go to "
                + other.shown() + ", which " + declares + ", or paths that do not overlap");
    }

    private void leaveOut(Endpoint endpoint, String reason) {
        problems.add(new DeclarationProblem(
                endpoint,
                endpoint.shown() + " is not registered for '" + endpoint.declared().name() + "': " + reason));
    }

    private static Map<String, List<Mapping>> byResource(Map<Mapping, Set<String>> routes) {
        return routes.keySet().stream()
                .collect(Collectors.groupingBy(
                        each -> each.endpoint().declared().name(), LinkedHashMap::new, Collectors.toList()));
    }

    private Declared declared(Map<Mapping, Set<String>> routes) {
        var resources = new ArrayList<ResourceSpec>();
        var endpoints = new ArrayList<List<Endpoint>>();
        byResource(routes).forEach((name, mappings) -> {
            List<Endpoint> declaring = mappings.stream().map(Mapping::endpoint).toList();
            ResourceSpec.Builder builder = ResourceSpec.builder(name, serviceName)
                    .displayName(displayName(declaring))
                    .defaultRoles(defaultRoles(declaring))
                    .isPublic(isPublic(declaring));
            routes(mappings, routes).forEach(builder::route);
            resources.add(builder.build());
            endpoints.add(declaring);
        });
        return new Declared(resources, problems, endpoints);
    }

    /** Returns the routes of one resource; methods of one path that are judged alike are one route. */
    private List<Route> routes(List<Mapping> mappings, Map<Mapping, Set<String>> methods) {
        record Key(String path, String action, Authentication authentication) { }
        var found = new LinkedHashMap<Key, Set<String>>();
        var paths = new LinkedHashMap<PathShape, String>();
        for (Mapping each : mappings) {
            Declaration declaration = each.endpoint().declared();
            // Two names of one variable are one template to the mesh.
            String path = paths.computeIfAbsent(each.path().reach(), shape -> each.path().template());
            found.computeIfAbsent(new Key(path, declaration.action(), declaration.authentication()),
                    key -> new TreeSet<>()).addAll(methods.get(each));
        }
        var taken = new LinkedHashMap<String, Set<String>>();
        var routes = new ArrayList<Route>();
        found.forEach((key, each) -> {
            // The same action in other words (`read` of `invoice:read`) would be a second claim on the method.
            Set<String> before = taken.computeIfAbsent(key.path(), path -> new TreeSet<>());
            Set<String> left = new TreeSet<>(each);
            left.removeAll(before);
            before.addAll(left);
            if (left.contains(Dispatch.ANY_METHOD) && left.size() > 1) {
                left = Set.of(Dispatch.ANY_METHOD);
            }
            if (!left.isEmpty()) {
                routes.add(new Route(
                        List.copyOf(new TreeSet<>(left)), key.path(), options.host(), key.action(), key.authentication()));
            }
        });
        return routes;
    }

    private String displayName(List<Endpoint> endpoints) {
        Endpoint first = null;
        for (Endpoint each : endpoints) {
            String name = each.declared().displayName();
            if (name != null && first == null) {
                first = each;
            } else if (name != null && !name.equals(first.declared().displayName())) {
                conflict(each, first, "displayName", "the first is kept");
            }
        }
        return first == null ? null : first.declared().displayName();
    }

    /** Returns the roles that each endpoint with default roles names: of two different lists, what is in both. */
    private Set<String> defaultRoles(List<Endpoint> endpoints) {
        Endpoint first = null;
        Set<String> roles = new LinkedHashSet<>();
        for (Endpoint each : endpoints) {
            Set<String> own = new LinkedHashSet<>(each.declared().defaultRoles());
            if (own.isEmpty()) {
                continue;
            }
            if (first == null) {
                first = each;
                roles = own;
            } else if (!own.equals(new LinkedHashSet<>(first.declared().defaultRoles()))) {
                roles.retainAll(own);
                conflict(each, first, "defaultRoles", "only roles that both name are kept");
            }
        }
        return roles;
    }

    /** Returns what holds of a resource that several endpoints declare: closed before public before nothing. */
    private Boolean isPublic(List<Endpoint> endpoints) {
        Endpoint first = null;
        Boolean found = null;
        for (Endpoint each : endpoints) {
            Boolean own = each.declared().isPublic();
            if (own == null) {
                continue;
            }
            if (first == null) {
                first = each;
                found = own;
            } else if (!own.equals(first.declared().isPublic())) {
                found = Boolean.FALSE;
                conflict(each, first, "isPublic", "the resource is not public");
            }
        }
        return found;
    }

    private void conflict(Endpoint endpoint, Endpoint first, String member, String outcome) {
        problems.add(new DeclarationProblem(
                endpoint,
                endpoint.shown() + " and " + first.method() + " declare '" + endpoint.declared().name() + "' with a"
                        + " different " + member + "; " + outcome + ". Write it once, or the same on both"));
    }
}
