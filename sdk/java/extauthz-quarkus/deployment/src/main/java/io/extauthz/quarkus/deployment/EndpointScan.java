package io.extauthz.quarkus.deployment;

import io.extauthz.declare.Declaration;
import io.extauthz.quarkus.runtime.ScannedEndpoint;
import io.quarkus.resteasy.reactive.server.deployment.ResteasyReactiveResourceMethodEntriesBuildItem.Entry;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jboss.jandex.ClassInfo;
import org.jboss.jandex.DotName;
import org.jboss.jandex.IndexView;
import org.jboss.jandex.MethodInfo;
import org.jboss.jandex.Type;

/**
 * The endpoints of an application: the methods that Quarkus REST found, with their whole paths and what they
 * declare. A method of a sub-resource is one endpoint for each way that leads to it.
 */
final class EndpointScan {

    private static final DotName CLASS = DotName.createSimple(Class.class);

    private final List<String> applicationPath;
    private final IndexView index;
    private final ResourceAnnotations annotations;
    private final List<Entry> roots = new ArrayList<>();
    private final Map<DotName, List<Entry>> subResources = new LinkedHashMap<>();
    private final List<ScannedEndpoint> found = new ArrayList<>();
    private final Set<String> problems = new LinkedHashSet<>();

    EndpointScan(Collection<Entry> entries, IndexView index, List<String> applicationPath) {
        this.applicationPath = applicationPath;
        this.index = index;
        this.annotations = new ResourceAnnotations(index);
        for (Entry entry : entries) {
            if (entry.getBasicResourceClassInfo().getPath() != null) {
                roots.add(entry);
            } else {
                subResources
                        .computeIfAbsent(entry.getActualClassInfo().name(), name -> new ArrayList<>())
                        .add(entry);
            }
        }
    }

    /**
     * What a scan found.
     *
     * @param endpoints every endpoint, those that declare nothing among them
     * @param problems messages that name class, method and fix
     */
    record Result(List<ScannedEndpoint> endpoints, List<String> problems) { }

    Result run() {
        for (Entry root : roots) {
            visit(root, Way.to(root.getBasicResourceClassInfo().getPath()));
        }
        // An interface of sub-resources has endpoints where a locator leads to it, and annotations in any case.
        subResources.values().forEach(entries -> entries.forEach(this::declared));
        problems.addAll(annotations.unreached());
        return new Result(withTrailingSlashes(withConditions(found)), List.copyOf(problems));
    }

    /** The locators that lead to a sub-resource, outermost first. */
    private record Way(List<String> templates, Set<DotName> classes, Declaration declared) {

        static Way to(String template) {
            return new Way(List.of(template), Set.of(), null);
        }

        Way through(Entry locator, Declaration its) {
            Set<DotName> seen = new HashSet<>(classes);
            seen.add(locator.getActualClassInfo().name());
            return new Way(added(templates, template(locator)), seen, its == null ? declared : its);
        }
    }

    private void visit(Entry entry, Way way) {
        Declaration own = declared(entry);
        if (entry.getResourceMethod().getHttpMethod() == null) {
            locate(entry, way.through(entry, own));
            return;
        }
        Declaration declared = own == null ? way.declared() : own;
        add(entry, added(way.templates(), template(entry)), "", declared);
    }

    private void locate(Entry locator, Way way) {
        List<Entry> reached = new ArrayList<>();
        DotName type = located(locator.getMethodInfo().returnType());
        boolean endless = way.classes().contains(type);
        // Each class of the application is an Object: that says nothing.
        if (!endless && !type.equals(DotName.OBJECT_NAME)) {
            for (DotName name : withSubtypes(type)) {
                reached.addAll(subResources.getOrDefault(name, List.of()));
            }
        }
        if (reached.isEmpty()) {
            if (way.declared() != null) {
                problems.add(name(locator) + " declares '" + way.declared().name() + "' for sub-resources of "
                        + type + (endless ? ", which contain themselves: their paths have no end"
                                : ", whose endpoints the build does not see")
                        + "; they are not registered: return a class with endpoints of its own, or write one"
                        + " method with a path that ends in '{rest: .*}'");
            }
            // Requests below it reach something, and no wider route may stand for that.
            add(locator, way.templates(), "/{*rest}", null);
            return;
        }
        reached.forEach(each -> visit(each, way));
    }

    private void add(Entry entry, List<String> templates, String suffix, Declaration declared) {
        List<String> levels = new ArrayList<>(applicationPath);
        levels.addAll(templates);
        levels.add(suffix);
        JaxRsPath path = JaxRsPath.of(levels);
        String method = entry.getResourceMethod().getHttpMethod();
        found.add(new ScannedEndpoint(
                entry.getActualClassInfo().name().toString(),
                entry.getMethodInfo().name(),
                method == null ? List.of() : List.of(method),
                path.text(),
                path.partial(),
                declared,
                templates,
                key(entry)));
    }

    private Declaration declared(Entry entry) {
        ResourceAnnotations.Found its = annotations.on(entry.getActualClassInfo(), entry.getMethodInfo());
        if (its.problem() != null) {
            problems.add(its.problem());
        }
        return its.declaration();
    }

    /** Marks endpoints that share path and method: media types tell them apart. */
    private static List<ScannedEndpoint> withConditions(List<ScannedEndpoint> endpoints) {
        Map<String, Integer> times = new HashMap<>();
        for (ScannedEndpoint each : endpoints) {
            times.merge(each.httpMethods() + each.path(), 1, Integer::sum);
        }
        return endpoints.stream()
                .map(each -> times.get(each.httpMethods() + each.path()) == 1
                        ? each : with(each, each.path(), true))
                .toList();
    }

    /**
     * Adds the paths with a trailing slash where one route of the application covers everything below a path.
     *
     * <p>Quarkus REST takes {@code /files/admin/} as {@code /files/admin}. To the mesh it would be a path below
     * {@code /files/**} and nothing else.
     */
    private static List<ScannedEndpoint> withTrailingSlashes(List<ScannedEndpoint> endpoints) {
        if (endpoints.stream().noneMatch(each -> isRest(each.path()))) {
            return endpoints;
        }
        List<ScannedEndpoint> all = new ArrayList<>(endpoints);
        for (ScannedEndpoint each : endpoints) {
            String path = each.path();
            if (!isRest(path) && !path.endsWith("/")) {
                all.add(with(each, path + "/", each.conditional()));
            }
        }
        return all;
    }

    private static boolean isRest(String path) {
        int last = path.lastIndexOf("/{*");
        return last >= 0 && path.indexOf('/', last + 1) < 0;
    }

    private static ScannedEndpoint with(ScannedEndpoint old, String path, boolean conditional) {
        return new ScannedEndpoint(
                old.className(), old.methodName(), old.httpMethods(), path, conditional, old.declared(),
                old.templates(), old.key());
    }

    private Set<DotName> withSubtypes(DotName type) {
        Set<DotName> names = new LinkedHashSet<>(List.of(type));
        for (ClassInfo each : index.getAllKnownSubclasses(type)) {
            names.add(each.name());
        }
        for (ClassInfo each : index.getAllKnownImplementations(type)) {
            names.add(each.name());
        }
        return names;
    }

    /** Returns the class of a sub-resource: what the locator returns, or {@code X} of {@code Class<X>}. */
    private static DotName located(Type returned) {
        boolean named = returned.kind() == Type.Kind.PARAMETERIZED_TYPE && returned.name().equals(CLASS);
        return named ? returned.asParameterizedType().arguments().get(0).name() : returned.name();
    }

    private static String template(Entry entry) {
        String path = entry.getResourceMethod().getPath();
        return path == null ? "" : path;
    }

    private static String key(Entry entry) {
        return ScannedEndpoint.key(
                entry.getActualClassInfo().name().toString(),
                entry.getMethodInfo().name(),
                entry.getResourceMethod().getHttpMethod(),
                template(entry));
    }

    private static String name(Entry entry) {
        MethodInfo method = entry.getMethodInfo();
        return entry.getActualClassInfo().name() + "." + method.name();
    }

    private static <T> List<T> added(List<T> list, T item) {
        List<T> all = new ArrayList<>(list);
        all.add(item);
        return all;
    }
}
