//! The C interface as declared here, held against the system's own `infiniband/verbs.h`: sizes, offsets, values, prototypes.
//!
//! The declarations in `abi` and `library` make a row each for what they declare, the rows become one C translation unit of assertions, and the
//! system's compiler judges it. That is chosen over bindgen's output (crate rdma-sys) because nothing can be declared and then left out,
//! prototypes are compared too, and neither libclang nor cmake is needed.

use super::abi::{CONSTANTS, Layout, OPERATIONS, Prototype, layouts};
use super::library::PROTOTYPES;
use std::fmt::Write;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Arguments whose type has another name in C than here, by function and place: enumerations, which are plain integers here, and the shorter
/// structure that the plain `ibv_query_port` fills.
const OTHERWISE: [(&str, usize, &str); 3] = [
    ("ibv_query_port", 2, "struct _compat_ibv_port_attr *"),
    ("ibv_wc_status_str", 0, "enum ibv_wc_status"),
    ("ibv_event_type_str", 0, "enum ibv_event_type"),
];

/// Everything that is declared.
#[derive(Clone)]
struct Declared {
    layouts: Vec<Layout>,
    constants: Vec<(&'static str, i32)>,
    functions: Vec<Prototype>,
    operations: Vec<Prototype>,
}

/// A change that makes something declared wrong.
type Spoil = fn(&mut Declared);

#[test]
fn the_headers_agree() {
    let Some(include) = headers() else { return };
    let declared = Declared::all();
    let (rows, program) = declared.program(&include);
    // What is declared really became rows.
    assert!(rows > 250 && declared.layouts.len() > 18 && declared.functions.len() > 24, "{rows} rows");
    let said = compile(&program);
    assert!(said.is_empty(), "the headers disagree:\n{said}");
    println!("{rows} sizes, offsets, values and prototypes agree with the system's headers");
}

#[test]
fn a_disagreement_is_found_wherever_it_is() {
    let Some(include) = headers() else { return };
    let wrong: [(&str, Spoil); 7] = [
        ("ibv_sge.lkey", |all| field(all, "ibv_sge", "lkey").offset += 4),
        ("ibv_wc.sl", |all| field(all, "ibv_wc", "sl").size += 1),
        ("sizeof ibv_send_wr", |all| layout(all, "ibv_send_wr").size = Some((120, 8))),
        ("alignof ibv_gid", |all| layout(all, "ibv_gid").size = Some((16, 1))),
        ("IBV_QP_SQ_PSN", |all| constant(all, "IBV_QP_SQ_PSN").1 <<= 1),
        ("check_ibv_create_cq", |all| function(all, "ibv_create_cq").1 = &["*mut ibv_context", "c_int"]),
        ("check_ibv_dereg_mr", |all| function(all, "ibv_dereg_mr").2 = "i64"),
    ];
    for (what, spoil) in wrong {
        let mut declared = Declared::all();
        spoil(&mut declared);
        let said = compile(&declared.program(&include).1);
        assert!(said.contains(what), "{what} was spoilt, and the compiler said: {said:?}");
    }
}

impl Declared {
    fn all() -> Self {
        Self {
            layouts: layouts(),
            constants: CONSTANTS.to_vec(),
            functions: PROTOTYPES.to_vec(),
            operations: OPERATIONS.to_vec(),
        }
    }

    /// How many assertions, and the C that makes them.
    fn program(&self, include: &str) -> (usize, String) {
        let mut rows = Vec::new();
        for layout in &self.layouts {
            let type_ = tag(layout.name);
            let name = layout.name;
            if let Some((size, align)) = layout.size {
                rows.push(format!("_Static_assert(_Alignof({type_}) == {align}, \"alignof {name}\");"));
                rows.push(format!("_Static_assert(sizeof({type_}) == {size}, \"sizeof {name}\");"));
            }
            for field in layout.fields.iter().filter(|field| !field.path.is_empty()) {
                let (path, offset, size) = (field.path, field.offset, field.size);
                rows.push(format!("_Static_assert(offsetof({type_}, {path}) == {offset}, \"{name}.{}\");", field.name));
                // What is not used stands for several fields of C at once.
                if !field.name.starts_with('_') {
                    let size_in_c = format!("sizeof((({type_} *)0)->{path})");
                    rows.push(format!("_Static_assert({size_in_c} == {size}, \"sizeof {name}.{}\");", field.name));
                }
            }
        }
        for (name, value) in &self.constants {
            rows.push(format!("_Static_assert({name} == {value}, \"{name}\");"));
        }
        for prototype in &self.functions {
            rows.push(pointer(prototype, &format!("&{}", prototype.0)));
        }
        for prototype in &self.operations {
            rows.push(pointer(prototype, &format!("*&((struct ibv_context_ops){{}}).{}", prototype.0)));
        }
        let mut program = include.to_owned();
        // Some functions are hidden behind macros of the same name.
        for (name, ..) in &self.functions {
            writeln!(program, "#undef {name}").expect("a string grows");
        }
        (rows.len(), program + &rows.join("\n") + "\n")
    }
}

/// A pointer to a function of this type, made from `value`, whose type is C's own.
fn pointer((name, arguments, result): &Prototype, value: &str) -> String {
    let argument = |(place, rust): (usize, &&str)| {
        let otherwise = OTHERWISE.iter().find(|other| other.0 == *name && other.1 == place);
        otherwise.map_or_else(|| in_c(rust), |other| other.2.to_owned())
    };
    let arguments: Vec<_> = arguments.iter().enumerate().map(argument).collect();
    let result = if result.is_empty() { "void".to_owned() } else { in_c(result) };
    format!(
        "void check_{name}(void) {{ {result} (*check_{name})({}) = {value}; (void)check_{name}; }}",
        arguments.join(", ")
    )
}

/// A type of Rust, as these declarations write it, in C.
fn in_c(rust: &str) -> String {
    if let Some(to) = rust.strip_prefix("*mut ") {
        return format!("{} *", in_c(to));
    }
    if let Some(to) = rust.strip_prefix("*const ") {
        return format!("const {} *", in_c(to));
    }
    let name = match rust {
        "c_int" => "int",
        "c_uint" => "unsigned int",
        "c_char" => "char",
        "c_void" => "void",
        "u8" => "uint8_t",
        "u32" => "uint32_t",
        "i64" => "int64_t",
        "usize" => "size_t",
        "isize" => "ssize_t",
        other => return tag(other),
    };
    name.to_owned()
}

fn tag(name: &str) -> String {
    let kind = if name == "ibv_gid" { "union" } else { "struct" };
    format!("{kind} {name}")
}

/// What brings the headers in, if they and a compiler are there.
fn headers() -> Option<String> {
    let include = "#include <stddef.h>\n#include <stdint.h>\n#include <infiniband/verbs.h>\n".to_owned();
    let said = compile(&include);
    if said.is_empty() {
        return Some(include);
    }
    let why = said.lines().find(|line| line.contains("error")).unwrap_or(&said);
    println!("skipped: verbs-headers: infiniband/verbs.h (libibverbs-dev) cannot be compiled: {why}");
    None
}

/// What the compiler has against this program.
fn compile(program: &str) -> String {
    let flags = ["-std=gnu11", "-fsyntax-only", "-Werror=incompatible-pointer-types", "-x", "c", "-"];
    let compiler =
        Command::new("cc").args(flags).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut compiler = match compiler {
        Ok(compiler) => compiler,
        Err(error) => return format!("error: cc: {error}"),
    };
    let mut input = compiler.stdin.take().expect("it was asked for");
    // A compiler that ends early says why itself.
    let _ = input.write_all(program.as_bytes());
    drop(input);
    let output = compiler.wait_with_output().expect("the compiler was started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { String::new() } else { said + "error: the compiler refused" }
}

fn layout<'a>(all: &'a mut Declared, name: &str) -> &'a mut Layout {
    all.layouts.iter_mut().find(|layout| layout.name == name).expect("it is declared")
}

fn field<'a>(all: &'a mut Declared, name: &str, field: &str) -> &'a mut super::abi::Field {
    layout(all, name).fields.iter_mut().find(|f| f.name == field).expect("it is declared")
}

fn constant<'a>(all: &'a mut Declared, name: &str) -> &'a mut (&'static str, i32) {
    all.constants.iter_mut().find(|constant| constant.0 == name).expect("it is declared")
}

fn function<'a>(all: &'a mut Declared, name: &str) -> &'a mut Prototype {
    all.functions.iter_mut().find(|function| function.0 == name).expect("it is declared")
}
